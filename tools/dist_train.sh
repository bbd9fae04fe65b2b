#!/usr/bin/env bash
# Train with several processes: bash tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# GPUS is the number of processes on this node: one per GPU, or gloo processes where there is none.
# Several nodes: run it on each with NNODES, NODE_RANK (0 hosts the rendezvous), MASTER_ADDR and the same PORT (29500).
# MAX_RESTARTS=N restarts all workers up to N times when one dies; each restart resumes from the latest checkpoint.
set -euo pipefail

if [ $# -lt 2 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500 MAX_RESTARTS=0] $0 CONFIG GPUS [ARGUMENTS]" >&2
    exit 2
fi
CONFIG=$1
GPUS=$2
shift 2
case $GPUS in
    '' | *[!0-9]*) echo "$0: GPUS must be a number, not '$GPUS': $0 CONFIG GPUS [ARGUMENTS]" >&2; exit 2 ;;
esac

TOOLS=$(cd "$(dirname "$0")" && pwd)
if [ "${MAX_RESTARTS:-0}" -gt 0 ] && [[ " $* " != *" --resume"* ]]; then
    set -- "$@" --resume
fi
. "$TOOLS/launcher.sh"
launch "$GPUS" "$TOOLS/train.py" "$CONFIG" --launcher pytorch "$@"
