# One file, two images:
#
#   docker build -t omniasr-server .                        CUDA, for NVIDIA GPUs (amd64)
#   docker build -t omniasr-server:cpu --target cpu .       small, for CPUs (amd64, arm64)
#
# PyTorch's CUDA wheels bring CUDA's libraries along, so that neither needs a base image
# of NVIDIA's: the driver comes from the host. Debian bookworm's own Python is 3.11.
# The demo model is inside; other weights are fetched into the volume /data.
#
# Packages are installed only if they have the hashes in the requirements. PyTorch is an
# exception, since its builds differ. To build on exactly the same base each time:
#
#   docker build --build-arg BASE=debian:bookworm-slim@sha256:... .
ARG BASE=debian:bookworm-slim

# --- what runs ---
FROM ${BASE} AS base
# Debian removes old versions from its archive, so they cannot be pinned.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates libstdc++6 python3 \
  && rm -rf /var/lib/apt/lists/* \
  && groupadd --gid 10001 omniasr \
  && useradd --uid 10001 --gid omniasr --home-dir /data --no-create-home \
       --shell /usr/sbin/nologin omniasr \
  && install -d -o omniasr -g omniasr /data
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    FAIRSEQ2_CACHE_DIR=/data/models
WORKDIR /app
VOLUME /data
EXPOSE 8000
# The first start fetches the weights.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 \
  CMD ["python", "deploy/healthcheck.py"]

# --- what installs ---
FROM ${BASE} AS build
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
  && rm -rf /var/lib/apt/lists/* \
  && python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /build

FROM build AS build-cpu
# PyTorch's builds without CUDA; empty: those of PyPI, which are larger on amd64.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements-torch.txt ./
RUN pip install --no-cache-dir --no-deps \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements-torch.txt
COPY requirements-light.txt ./
# At last what only this build of PyTorch needs: CUDA's libraries, or nothing.
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements-light.txt \
  && pip install --no-cache-dir \
      ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r requirements-torch.txt

FROM build AS build-cuda
# kenlm, which omnilingual-asr wants, has no wheels.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install -y --no-install-recommends cmake g++ make python3-dev
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt

# --- the images ---
FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
COPY . .
USER 10001:10001
ENTRYPOINT ["python", "server.py"]

FROM base AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/venv /opt/venv
COPY . .
USER 10001:10001
ENTRYPOINT ["python", "server.py"]
