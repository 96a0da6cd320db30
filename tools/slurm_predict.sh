#!/usr/bin/env bash
# sbatch -p PARTITION --gres=gpu:8 --cpus-per-task=40 --array=0-9 tools/slurm_predict.sh [CONFIG] WEIGHTS IMAGES OUT [arguments of predict_many.py]
# Each task of the array takes its part of the images, and a process for each of its GPUS (8). The same command goes on with what is
# left; afterwards: python tools/manifest.py IMAGES OUT. Variables: GPUS, TOOLS (this folder; sbatch runs a copy of this file)
set -euo pipefail
case ${1:-} in *.py | *.json | *.yaml | *.yml) model=("$1" "${2:-}") ;; *) model=("${1:-}") ;; esac
[ $# -ge $((${#model[@]} + 2)) ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
shift ${#model[@]}
images=$1 out=$2
shift 2
part=$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))
PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))} exec bash "${TOOLS:-${SLURM_SUBMIT_DIR:-.}/tools}/dist_predict.sh" \
    "${model[@]}" "$images" "$out" "${GPUS:-8}" --part "$part" --parts "$SLURM_ARRAY_TASK_COUNT" "$@"
