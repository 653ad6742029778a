#!/bin/sh
# Install what a lock file lists, with its hashes checked: install.sh PYTHON FILE
#
# uv does it several times as quickly as pip. It has its own settings for mirrors and
# proxies, so where it cannot fetch a file, pip does.
set -eu
python=$1
file=$2

"$python" -m pip install --quiet --upgrade pip
uv=$(sed -n 's/^\(uv==[^ ]*\).*/\1/p' requirements/dev.txt)
if "$python" -m pip install --quiet "$uv" \
    && "$(dirname "$python")/uv" pip install --python "$python" --require-hashes -r "$file"
then
    exit
fi
echo "uv cannot install $file here; pip tries." >&2
exec "$python" -m pip install --progress-bar on --require-hashes -r "$file"
