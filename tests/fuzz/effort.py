"""How long the fuzzers look: some seconds among the tests, longer by `make fuzz`.

They draw the same cases each time. FUZZ_CASES is the number of damaged files; the
others follow from it.
"""

import os

CASES = int(os.environ.get("FUZZ_CASES", "1000"))

# Conversations on each socket, and requests to each route.
CONVERSATIONS = max(8, CASES // 100)
REQUESTS = max(10, CASES // 100)
