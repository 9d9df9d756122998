# syntax=docker/dockerfile:1
# One image for CPU, CUDA or TPU:  docker build --build-arg EXTRAS=cuda .   (or EXTRAS=tpu; empty for CPU)
# The steps are the commands that anybody types; `make run` and `make test` work inside.
FROM python:3.11-slim-bookworm

ARG EXTRAS=""
ENV PYTHONUNBUFFERED=1
SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# hadolint ignore=DL3008
RUN apt-get update && apt-get install --no-install-recommends --yes git make && rm -rf /var/lib/apt/lists/*

WORKDIR /infojax
COPY . .

RUN make install EXTRAS=${EXTRAS}

ENTRYPOINT ["/infojax/.venv/bin/infojax"]
CMD ["train", "experiment=default"]
