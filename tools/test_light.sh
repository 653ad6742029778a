#!/bin/sh
# Run tests in the light environment, once for each Python of a list that is here:
# test_light.sh "3.11 3.13" tests/test_model.py ...
# With LIGHT_FIRST=1 only for the first of them that is here.
# LIGHT tells the tests that fairseq2 is missing on purpose.
set -eu
versions=$1
shift

ran=
for version in $versions; do
    if ! venv=$(sh tools/light_env.sh "$version" requirements/light-tests.txt); then
        echo "test-light: Python $version is left out." >&2
        continue
    fi
    "$venv/bin/python" -c 'import sys, torch
print("test-light: Python", sys.version.split()[0], "PyTorch", torch.__version__)'
    LIGHT=1 "$venv/bin/python" -m pytest -m "not oracle and not gpu" "$@"
    ran=yes
    if [ "${LIGHT_FIRST:-}" = 1 ]; then
        break
    fi
done
if [ -z "$ran" ]; then
    echo "test-light: none of Python $versions is here." >&2
    exit 1
fi
