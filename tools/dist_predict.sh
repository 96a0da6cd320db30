#!/usr/bin/env bash
# bash tools/dist_predict.sh [CONFIG] WEIGHTS IMAGES OUT GPUS [arguments of predict_many.py]
# Several machines: NNODES, NODE_RANK, MASTER_ADDR, PORT. Processes that die are started again MAX_RESTARTS (3) times
set -euo pipefail
case ${1:-} in *.py | *.json | *.yaml | *.yml) model=("$1" "${2:-}") ;; *) model=("${1:-}") ;; esac
[ $# -ge $((${#model[@]} + 3)) ] || { sed -n '2,3s/^# //p' "$0" >&2; exit 2; }
shift ${#model[@]}
images=$1 out=$2 gpus=$3 tools=$(dirname "$0")
shift 3
torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --master_addr="${MASTER_ADDR:-127.0.0.1}" \
    --master_port="${PORT:-29500}" --nproc_per_node="$gpus" --max_restarts="${MAX_RESTARTS:-3}" \
    "$tools/predict_many.py" "${model[@]}" "$images" "$out" "$@"
[ "${NODE_RANK:-0}" != 0 ] || [ -n "${SLURM_ARRAY_TASK_ID:-}" ] || exec python "$tools/manifest.py" "$images" "$out"
