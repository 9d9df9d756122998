#!/usr/bin/env bash
# A TPU slice out of Google's queue: ask for it, install infojax on its hosts, train, give it back.
#   slice.sh request               put a request into the queue
#   slice.sh wait                  wait until the slice is there; 1 when it will not come
#   slice.sh install               the committed files of this checkout on every host, and the bucket as /runs
#   slice.sh train RUN WORDS…      `infojax train WORDS…` on every host at once, kept in /runs/RUN
#   slice.sh keep RUN WORDS…       all of these, anew after each pre-emption, until the run has ended; then release
#   slice.sh status                the state of the request
#   slice.sh release               give the slice back: it costs until then
# Settings are environment variables: PROJECT, ZONE and BUCKET must be given, the others have a value below.
set -euo pipefail

NAME=${NAME:-infojax}                          # of the request and of its slice
TYPE=${TYPE:-v5litepod-16}                     # v5e with 16 chips on four hosts
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}        # v5e; v2-alpha-tpuv5 for v5p, v2-alpha-tpuv6e for v6e
SPOT=${SPOT:-true}                             # false rents what is not taken away
PATIENCE=${PATIENCE:-24h}                      # how long the request may stand in the queue
POLL=${POLL:-30}                               # seconds between two looks at it

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

say() { echo "slice.sh: $*" >&2; }

tpus() { # the group of gcloud's commands, with where they apply
  local group=$1 verb=$2
  shift 2
  gcloud compute tpus "$group" "$verb" "$@" --project="$PROJECT" --zone="$ZONE"
}

state() { # empty where there is no such request; fails where Google does not answer
  local told=0
  tpus queued-resources describe "$NAME" --format='value(state.state)' 2> "$errors" || told=$?
  if [[ $told -ne 0 ]] && ! grep -qi 'not[_ ]found' "$errors"; then
    say "no answer about $NAME: $(tail -n 1 "$errors")"
    return 1
  fi
}

request() {
  local spot=()
  if [[ $SPOT == true ]]; then spot=(--spot); fi
  tpus queued-resources create "$NAME" --node-id="$NAME" --accelerator-type="$TYPE" --runtime-version="$RUNTIME" \
    --scopes=https://www.googleapis.com/auth/cloud-platform --valid-until-duration="$PATIENCE" "${spot[@]}"
}

wait_for_it() {
  local now
  while true; do
    now=$(state) || now=unknown # the next look may be answered
    case $now in
      ACTIVE) return 0 ;;
      "" | FAILED | SUSPENDING | SUSPENDED | DELETING) say "the request is ${now:-gone}"; return 1 ;;
    esac
    sleep "$POLL"
  done
}

everywhere() { # a command on every host; the first failure fails it
  tpus tpu-vm ssh "$NAME" --worker=all --command="$1"
}

install() {
  local archive there=infojax/experiments/cloud/queued_resources/host.sh
  archive=$(mktemp --suffix=.tar.gz) || return
  git -C "$root" archive --format=tar.gz --output="$archive" HEAD || return
  tpus tpu-vm scp "$archive" "$NAME:infojax.tar.gz" --worker=all || return
  rm "$archive"
  everywhere "mkdir -p infojax && tar -xzf infojax.tar.gz -C infojax && bash $there $(printf '%q' "$BUCKET")"
}

train() {
  local run=$1
  shift
  everywhere "cd infojax && .venv/bin/infojax train$(printf ' %q' "$@" "run_dir=/runs/$run")"
}

release() { tpus queued-resources delete "$NAME" --force --quiet; }

keep() {
  local now
  while true; do
    now=$(state)
    if [[ -z $now ]]; then request; fi
    if wait_for_it && install && train "$@"; then
      release
      return
    fi
    sleep "$((4 * POLL))" # a pre-emption shows a while after the connection broke
    now=$(state)
    if [[ $now == ACTIVE ]]; then
      say "the slice is still there: the installation or the run failed by itself; look at it, then: slice.sh release"
      return 1
    fi
    say "the slice was taken away; asking for another"
    if [[ -n $now ]]; then release; fi
    while now=$(state) && [[ -n $now ]]; do sleep "$POLL"; done # a name is free when its request is gone
  done
}

word=${1:-}
if [[ $# -gt 0 ]]; then shift; fi
case $word in
  request | wait | install | status | release) want=0 ;;
  train | keep) want=1 ;;
  *) sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
if [[ $# -lt $want ]]; then say "$word needs the name of a run, such as: slice.sh $word default experiment=default"; exit 2; fi
if [[ $word == train || $word == keep ]] && [[ $1 == *[=/]* ]]; then
  say "$1 is not the name of a run; give a name without = and /, then the words of infojax train"
  exit 2
fi
: "${PROJECT:?give the project of Google that pays, PROJECT=…}"
: "${ZONE:?give a zone that has the slice, such as ZONE=us-west4-a}"
case $word in install | train | keep) : "${BUCKET:?give the bucket that keeps the runs, BUCKET=…}" ;; esac
case $word in
  wait) wait_for_it ;;
  status) state ;;
  *) "$word" "$@" ;;
esac
