#!/usr/bin/env bash
# Test with several processes: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: as for tools/dist_train.sh.
set -euo pipefail

if [ $# -lt 3 ]; then
    echo "usage: [NNODES=1 NODE_RANK=0 MASTER_ADDR=127.0.0.1 PORT=29500] $0 CONFIG CHECKPOINT GPUS [ARGUMENTS]" >&2
    exit 2
fi
CONFIG=$1
CHECKPOINT=$2
GPUS=$3
shift 3
case $GPUS in
    '' | *[!0-9]*) echo "$0: GPUS must be a number, not '$GPUS': $0 CONFIG CHECKPOINT GPUS [ARGUMENTS]" >&2; exit 2 ;;
esac

TOOLS=$(cd "$(dirname "$0")" && pwd)
. "$TOOLS/launcher.sh"
launch "$GPUS" "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher pytorch "$@"
