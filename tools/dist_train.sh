#!/usr/bin/env bash
# bash tools/dist_train.sh CONFIG GPUS [arguments of train.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
config=$1 gpus=$2
shift 2
# torchrun passes signals on (SIGUSR1 in newer versions; older ones would die of it), and waits until training has saved
trap '' USR1
export PET_SIGNALS_TO_HANDLE=${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1} PET_SHUTDOWN_TIMEOUT=${PET_SHUTDOWN_TIMEOUT:-300}
exec torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$gpus" "$(dirname "$0")/train.py" "$config" --launcher pytorch "$@"
