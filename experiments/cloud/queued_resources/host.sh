#!/usr/bin/env bash
# One host of a slice, called by slice.sh on each: the bucket as /runs, and infojax installed beside this file.
#   host.sh BUCKET
set -euo pipefail

bucket=$1
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."

if ! command -v gcsfuse > /dev/null; then
  key=/usr/share/keyrings/cloud.google.asc
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee "$key" > /dev/null
  echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -c -s) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list > /dev/null
  sudo apt-get update -qq
  sudo apt-get install --yes -qq gcsfuse
fi
if ! mountpoint -q /runs; then
  sudo mkdir -p /runs
  sudo chown "$(id -u):$(id -g)" /runs
  # A checkpoint appears by renaming its folder, which gcsfuse refuses without a limit.
  gcsfuse --implicit-dirs --rename-dir-limit=10000 "$bucket" /runs
fi

export PATH="$HOME/.local/bin:$PATH"
command -v uv > /dev/null || python3 -m pip install --quiet --user uv
uv venv --quiet --seed --clear --python 3.11 .venv
.venv/bin/pip install --quiet --constraint constraints.txt -e ".[tpu]"
