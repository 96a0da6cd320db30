#!/usr/bin/env bash
# bash tools/dist_test.sh CONFIG WEIGHTS GPUS [arguments of test.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
config=$1 weights=$2 gpus=$3
shift 3
exec torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$gpus" "$(dirname "$0")/test.py" "$config" "$weights" --launcher pytorch "$@"
