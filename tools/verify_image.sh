#!/usr/bin/env bash
# Build the CPU image without a Docker engine, and transcribe speech inside of it.
#
#   sudo tools/verify_image.sh
#
# Needs root, 20 GB in TMPDIR, and Debian's packages buildah and debootstrap. The base
# is made by debootstrap and has the name that the Dockerfile asks for, so that nothing
# is pulled. Nothing is left behind.
#
# PyTorch's own index of CPU builds is used if it can be reached. If not, the image is
# built without it, with PyPI's build of PyTorch, or with the one in the folder WHEELS; the
# last lines say which.
#
# What this does not show: that an image runs on a GPU, and Docker's own builder.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in buildah debootstrap python3; do
  command -v "$tool" >/dev/null || { echo "$tool is missing: apt-get install $tool" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "This needs root, for the chroots." >&2; exit 2; }

work=$(mktemp -d)
build() {
  buildah --storage-driver vfs --root "$work/storage" --runroot "$work/run" "$@"
}
clean_up() {
  build umount --all >/dev/null 2>&1 || true
  rm -rf "$work"
}
trap clean_up EXIT

index=$(sed -n 's/^ARG TORCH_INDEX=//p' Dockerfile)
if python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1] + "/torch/", timeout=10)' \
    "$index" 2>/dev/null; then
  torch="PyTorch's CPU builds"
else
  index=
  torch="PyPI's PyTorch, since PyTorch's own index cannot be reached from here"
  [ -z "${WHEELS:-}" ] || torch="the PyTorch in $WHEELS"
fi
echo "== building with $torch"

debootstrap --variant=minbase bookworm "$work/base" >"$work/debootstrap.log" \
  || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
base=$(build from scratch)
build add --quiet "$base" "$work/base" / >/dev/null
build commit --quiet "$base" debian:bookworm-slim >/dev/null
build rm "$base" >/dev/null
rm -rf "$work/base"

# Let pip trust the certificates that this machine trusts: it may be behind a proxy.
settings=()
trusted=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
if [ -e "$trusted" ]; then
  printf '[global]\ncert = /mnt/trusted.crt\n' >"$work/pip.conf"
  settings=(--volume "$trusted:/mnt/trusted.crt:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
  if [ -n "${WHEELS:-}" ]; then
    printf 'find-links = /mnt/wheels\n' >>"$work/pip.conf"
    settings+=(--volume "$WHEELS:/mnt/wheels:ro")
  fi
fi
build bud --quiet --format docker --isolation chroot --layers=false --pull-never "${settings[@]}" \
  --target cpu --build-arg "TORCH_INDEX=$index" --tag omniasr-server:cpu . >/dev/null

echo "== running, as the image's own user"
container=$(build from --pull-never omniasr-server:cpu)
build run --isolation chroot \
  --volume "$PWD/tests/data/digits/5_lucas_2.flac:/mnt/audio.flac:ro" \
  "$container" -- sh -euc '
    echo "user $(id -u), Python $(python -c "import platform; print(platform.python_version())"), PyTorch $(python -c "import torch; print(torch.__version__)")"
    if touch /app/x /opt/venv/x 2>/dev/null; then
      echo "The server could change its own code." >&2; exit 1
    fi
    export HOST=127.0.0.1 MODEL_CARD=omniASR_CTC_demo
    PORT=$(python -c "import socket; s = socket.create_server((\"127.0.0.1\", 0)); print(s.getsockname()[1])")
    export PORT
    python server.py 2>/data/log &
    server=$!
    # Chroots share the network and the processes of this machine: leave nothing behind.
    trap "status=\$?; kill $server 2>/dev/null || true; [ \$status = 0 ] || cat /data/log >&2" EXIT
    tries=0
    until python deploy/healthcheck.py 2>/dev/null; do
      tries=$((tries + 1))
      if [ $tries = 300 ] || ! kill -0 $server; then exit 1; fi
      sleep 1
    done
    echo "health check: ready"
    python -c "
import sys, urllib.request
page = urllib.request.Request(sys.argv[1], headers={\"Accept\": \"text/html\"})
assert b\"<html\" in urllib.request.urlopen(page).read()
" "http://127.0.0.1:$PORT/"
    echo "page: served"
    heard=$(python test_streaming.py rest --port "$PORT" --file /mnt/audio.flac)
    echo "$heard"
    kill -TERM $server
    wait $server
    echo "stopped by SIGTERM with status $?"
    # What is not ours to look into is not ours to have written.
    written=$(find / -xdev -user "$(id -u)" -type f -not -path "/data/*" \
      -not -path "/tmp/*" -not -path "/proc/*" 2>/dev/null || true)
    if [ -n "$written" ]; then echo "Written outside of /data: $written" >&2; exit 1; fi
    case $heard in *five*) ;; *) echo "It should have heard five." >&2; exit 1 ;; esac
  '
size=$(du -sm "$(build mount "$container")" | cut -f1)
echo "== verified: omniasr-server:cpu, $size MB unpacked, with $torch"
