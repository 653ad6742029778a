#!/bin/sh
# Print the first of the given command, python3.11 and python3 that is Python 3.11.
for candidate in "$@" python3.11 python3 python; do
    if found=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' \
        2>/dev/null); then
        if [ "$found" = 3.11 ]; then
            command -v "$candidate"
            exit 0
        fi
        seen="$seen $candidate is $found;"
    fi
done
cat >&2 <<EOF
This project needs Python 3.11:${seen:- no Python was found.}
fairseq2, which omniASR is built on, has no release for any newer or older one.
Install it (Debian 12: python3.11 python3.11-venv; macOS: brew install python@3.11;
anywhere: pyenv or uv python install 3.11) and run make PYTHON=/path/to/python3.11
EOF
exit 1
