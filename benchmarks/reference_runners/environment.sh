#!/usr/bin/env bash
# Makes the Python environment of a trainer that is compared with, since none can be installed beside this package.
#
#   bash environment.sh rejax DIR     gymnax below 1, and this package without its requirements, for its market
#   bash environment.sh sb3 DIR       stable-baselines3 with torch for CPUs
set -euo pipefail
what="${1:?rejax or sb3}" folder="${2:?a folder for the environment}"
root="$(cd "$(dirname "$0")/../.." && pwd)"
"${PYTHON:-python3}" -m venv "$folder"
install() { "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"; }
case "$what" in
  rejax)
    install 'rejax==0.1.3' 'gymnax<1' six
    install --constraint "$root/constraints.txt" pandas pyarrow pyyaml tyro rich orbax-checkpoint
    install --no-deps "$root"
    ;;
  sb3)
    install 'torch==2.13.0'
    install stable-baselines3 gymnasium
    ;;
  *) echo "unknown trainer: $what" >&2; exit 2 ;;
esac
echo "$folder/bin/python"
