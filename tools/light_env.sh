#!/bin/sh
# Make the environment of the light server, if it is not there, and print its folder:
# light_env.sh "3.13 3.12" requirements-light.txt
#
# It is made with the first of these Pythons that is here, in .venv-light-VERSION, or in
# VENV_NAME-VERSION. PyTorch
# comes from TORCH_INDEX, an address; `pypi` for PyPI's build. If it is empty that is
# PyTorch's index of builds for CPUs, unless there is a GPU or the index cannot be reached.
# With LIGHT_VENV, a folder, that environment is used as it is.
# For requirements-light.txt, .venv-light is a link to the folder.
set -eu
if [ -n "${LIGHT_VENV:-}" ]; then
    echo "$LIGHT_VENV"
    exit
fi
versions=$1
requirements=$2

# On the path, or among pyenv's, whose commands need not be on the path.
find_python() {
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if "$candidate" -c 'import ensurepip' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

for version in $versions; do
    python=$(find_python "$version")
    if [ -n "$python" ]; then
        break
    fi
done
if [ -z "$python" ]; then
    cat >&2 <<END
None of Python $versions is here, with venv and pip. Install one of them (Debian:
python3.11 python3.11-venv; macOS: brew install python@3.13; anywhere: pyenv, or
uv python install 3.13) and try again.
END
    exit 1
fi

venv=${VENV_NAME:-.venv-light}-$version
stamp=$venv/.installed-$(basename "$requirements" .txt)
if [ "$requirements" = requirements-light.txt ]; then
    ln -sfn "$venv" .venv-light
fi
if [ "$stamp" -nt "$requirements" ]; then
    echo "$venv"
    exit
fi

cpu_index=$(sed -n 's/^ARG TORCH_INDEX=//p' Dockerfile)
index=${TORCH_INDEX:-}
if [ -z "$index" ]; then
    index=pypi
    reach='import sys, urllib.request as u; u.urlopen(sys.argv[1] + "/torch/", timeout=5)'
    if command -v nvidia-smi >/dev/null || [ "$(uname)" = Darwin ]; then
        : # PyPI's build has CUDA, or Metal
    elif "$python" -c "$reach" "$cpu_index" 2>/dev/null; then
        index=$cpu_index
    else
        echo "PyTorch's index of CPU builds cannot be reached: PyPI's build is taken," \
            "which is 5 GB with CUDA's libraries." >&2
    fi
fi
if [ "$index" = pypi ]; then
    set --
else
    set -- --extra-index-url "$index"
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" >&2
"$venv/bin/python" -m pip install --quiet --upgrade pip >&2
# Builds of PyTorch differ, so it has no hash; all else has. The last line adds what only
# this build needs: CUDA's libraries, or nothing.
"$venv/bin/python" -m pip install --progress-bar on --no-deps "$@" -r requirements-torch.txt >&2
"$venv/bin/python" -m pip install --progress-bar on --no-deps --require-hashes -r "$requirements" >&2
"$venv/bin/python" -m pip install --quiet "$@" -r requirements-torch.txt >&2
touch "$stamp"
echo "$venv takes $(du -sh "$venv" | cut -f1)." >&2
echo "$venv"
