# Sourced by dist_train.sh and dist_test.sh: torchrun with a c10d rendezvous.

# launch PROCESSES SCRIPT ARGUMENTS...
launch() {
    local processes=$1 rendezvous
    shift
    local nodes=${NNODES:-1} rank=${NODE_RANK:-0} address=${MASTER_ADDR:-127.0.0.1}
    if [ "$nodes" = 1 ]; then
        # port 0: any free one, so that jobs on the same machine do not meet
        rendezvous=(--rdzv-endpoint="127.0.0.1:${PORT:-0}" --local-addr=127.0.0.1)
    else
        rendezvous=(--rdzv-endpoint="$address:${PORT:-29500}" --rdzv-conf="is_host=$((rank == 0))")
        # the address by which the other nodes reach this one, where its host name does not resolve
        if [ -n "${LOCAL_ADDR:-}" ]; then
            rendezvous+=(--local-addr="$LOCAL_ADDR")
        fi
    fi
    local python=${PYTHON:-$(command -v python || command -v python3)}
    PYTHONPATH="$TOOLS/..${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m mmdensenet.training.launch \
        --nnodes="$nodes" --nproc-per-node="$processes" --max-restarts="${MAX_RESTARTS:-0}" \
        --rdzv-backend=c10d --rdzv-id="${RDZV_ID:-mmdensenet}" "${rendezvous[@]}" "$@"
}
