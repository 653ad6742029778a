#!/bin/sh
# Run tests in the light environment, once for each Python of a list that is here:
# test_light.sh "3.11 3.13" tests/test_model.py ...
# With LIGHT_FIRST=1 only for the first of them that is here.
# LIGHT tells the tests that fairseq2 is missing on purpose.
set -eu
versions=$1
shift

# On the path, or among pyenv's, whose commands need not be on the path.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c '' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

ran=
for version in $versions; do
    python=$(find_python "$version")
    if [ -z "$python" ]; then
        echo "test-light: there is no Python $version here; it is left out." >&2
        continue
    fi
    venv=.venv-light-$version
    if ! [ "$venv/.installed" -nt requirements/light-tests.txt ]; then
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/python" -m pip install --quiet --upgrade pip
        "$venv/bin/python" -m pip install --quiet -r requirements/light-tests.txt
        touch "$venv/.installed"
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
