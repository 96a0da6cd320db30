#!/usr/bin/env bash
# bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of train.py]
# Variables: GPUS (8, of all nodes), GPUS_PER_NODE (8), CPUS_PER_TASK (5 per GPU; a task is a node), PORT, SRUN_ARGS
# With REQUEUE=1 in a job of sbatch --requeue --signal=B:USR1@120: saves before the time limit, queues the job again, resumes
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
partition=$1 job=$2 config=$3
shift 3
gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
per_node=$((per_node < gpus ? per_node : gpus))
[ $((gpus % per_node)) = 0 ] || { echo "GPUS=$gpus is no multiple of GPUS_PER_NODE=$per_node: each node runs as many" >&2; exit 2; }
[ "${SLURM_RESTART_COUNT:-0}" = 0 ] || set -- "$@" --resume
# shellcheck disable=SC2016,SC2086  # expanded on the nodes; several arguments
set -- srun -p "$partition" --job-name="$job" --nodes=$((gpus / per_node)) --ntasks-per-node=1 --gres=gpu:"$per_node" \
    --cpus-per-task="${CPUS_PER_TASK:-$((5 * per_node))}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
    bash -c 'NNODES=$SLURM_NNODES NODE_RANK=$SLURM_NODEID PORT=${PORT:-$((20000 + SLURM_JOB_ID % 20000))} \
        MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1) exec bash "$@"' \
    bash "$(dirname "$0")/dist_train.sh" "$config" "$per_node" "$@"
[ -n "${REQUEUE:-}" ] || exec "$@"

"$@" &
step=$! warned=''
trap 'warned=1; kill -USR1 "$step" || true' USR1  # srun passes it on to the tasks
status=0
wait "$step" || status=$?
[ -z "$warned" ] || { wait "$step" || true; scontrol requeue "$SLURM_JOB_ID"; exit 0; }  # a trap ends the first wait
exit $status
