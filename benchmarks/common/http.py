"""Send requests to servers of this machine, one connection each.

`httpx.get` and the like read the certificates of all authorities for every request,
also for one without TLS: 60 ms of a core, which a test that waits for something takes
from the server that it waits for.
"""

import httpx

# Safe for use by several threads.
local = httpx.Client(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
