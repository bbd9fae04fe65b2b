# Sourced by slurm_train.sh and slurm_test.sh.

# submit SCRIPT ARGUMENTS...
submit() {
    local per_node=${GPUS_PER_NODE:-8} tasks=${GPUS:-8}
    local request=(--ntasks="$tasks")
    if [ "$per_node" -gt 0 ]; then
        request+=(--gres="gpu:$per_node" --ntasks-per-node="$per_node")
    fi
    local python=${PYTHON:-$(command -v python || command -v python3)}
    # SRUN_ARGS is several words on purpose
    # shellcheck disable=SC2086
    PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec srun -p "$PARTITION" --job-name="$JOB_NAME" "${request[@]}" \
        --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} "$python" -u "$@"
}
