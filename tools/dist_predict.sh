#!/usr/bin/env bash
# bash tools/dist_predict.sh ADAPTER IMAGES OUT GPUS [arguments of predict_many.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. Processes that die are started again MAX_RESTARTS (3) times
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
adapter=$1 images=$2 out=$3 gpus=$4 tools=$(dirname "$0")
shift 4
torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$gpus" --max_restarts="${MAX_RESTARTS:-3}" \
    "$tools/predict_many.py" "$adapter" "$images" "$out" "$@"
[ "${NODE_RANK:-0}" != 0 ] || [ -n "${SLURM_ARRAY_TASK_ID:-}" ] || exec python "$tools/manifest.py" "$images" "$out"
