#!/bin/bash
# Eight tasks train one sweep: sbatch configs/cluster/slurm.sh configs/sweeps/ppo.yaml --classes forex --num-trials 256
# Each takes trials from the study until there are enough. Submitted again, it goes on with what is left.
#SBATCH --job-name=mtquant-sweep
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm_%A_%a.log
# SIGTERM two minutes before the end: a task finishes its chunk and hands its trials back to the study.
#SBATCH --signal=TERM@120
set -euo pipefail

# On a file system that all nodes share. A database takes its place for more than some dozens of tasks:
# STUDY=postgresql://user:password@host/database
FOLDER=${FOLDER:-$PWD/sweep}
STUDY=${STUDY:-journal:$FOLDER/study.log}
RUN_DIR=$FOLDER/task_${SLURM_ARRAY_TASK_ID:?submit this file with sbatch}
mkdir -p "$RUN_DIR"

# source .venv/bin/activate
# srun, since it hands signals on to the command, and keeps it to the cores of the task.
exec srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    mtquant-jax sweep "$@" --storage "$STUDY" --run-dir "$RUN_DIR" --resume
