#!/bin/sh
# Look up known weaknesses of pinned packages: audit.sh PIP_AUDIT REQUIREMENTS...
#
# Nothing is installed: the packages and their hashes are those of the files. Where the
# data cannot be reached, it says so and succeeds; a weakness that is found is a failure.
set -eu
audit=$1
shift

status=0
for file in "$@"; do
    log=$(mktemp)
    if "$audit" --disable-pip --require-hashes --progress-spinner off \
        -r "$file" >"$log" 2>&1; then
        echo "$file: no weakness is known."
    elif grep -qiE "connection|timed out|resolve|proxy|HTTPError|service error" "$log"; then
        echo "$file: the data on weaknesses cannot be reached from here."
    else
        cat "$log"
        status=1
    fi
    rm -f "$log"
done
exit $status
