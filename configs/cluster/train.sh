#!/bin/bash
# One training on two nodes with four GPUs each: sbatch configs/cluster/train.sh
# Submitted again, it goes on where it was saved.
#SBATCH --job-name=mtquant-train
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=train_%j.log
#SBATCH --signal=TERM@120
# SIGTERM two minutes before the end: every task finishes its chunk, and process 0 saves the training.
set -euo pipefail

# On a file system that all nodes share.
RUN_DIR=${RUN_DIR:-$PWD/runs/first}
RESUME=()
if [ -f "$RUN_DIR/logs/e2e_training/run.json" ]; then RESUME=(--resume); fi

# source .venv/bin/activate
exec srun --kill-on-bad-exit=1 \
    mtquant-jax train --preset gpu --devices 4 --run-dir "$RUN_DIR" "${RESUME[@]}" "$@"
