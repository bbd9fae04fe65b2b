#!/usr/bin/env bash
# Test under slurm: bash tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [arguments of tools/test.py]
# GPUS (8) processes in all, GPUS_PER_NODE (8), 0 for nodes without GPUs, CPUS_PER_TASK (5), SRUN_ARGS.
set -euo pipefail

if [ $# -lt 4 ]; then
    echo "usage: [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=] $0 PARTITION JOB_NAME CONFIG CHECKPOINT [ARGUMENTS]" >&2
    exit 2
fi
PARTITION=$1
JOB_NAME=$2
CONFIG=$3
CHECKPOINT=$4
shift 4

TOOLS=$(cd "$(dirname "$0")" && pwd)
. "$TOOLS/srun.sh"
submit "$TOOLS/test.py" "$CONFIG" "$CHECKPOINT" --launcher=slurm "$@"
