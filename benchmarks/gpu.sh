#!/usr/bin/env bash
# The benchmarks of a GPU in one command, meant to take less than ten minutes; results are named by card.
#
#   bash benchmarks/gpu.sh
#
# PYTHON names the interpreter of an environment with this package and jax[cuda12] (default: python3).
set -euo pipefail
cd "$(dirname "$0")"
python="${PYTHON:-python3}"
card="$("$python" -c '
import re, jax
device = jax.devices()[0]
print(re.sub("[^a-z0-9]+", "_", f"{device.platform} {device.device_kind}".lower()).strip("_"))
')"
results="results/$card"
"$python" environment.py --runs 3 --num-envs 1024 16384 65536 --num-bars 4000000 --results "$results"
"$python" ppo_throughput.py --pairs 1 --sizes 1024x32 16384x32 --timesteps 5000000 --results "$results"
"$python" pipeline.py --runs 1 --results "$results"
echo "results are in benchmarks/$results"
