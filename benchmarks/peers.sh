#!/usr/bin/env bash
# Makes the environments of the peers that benchmarks are measured against: FOLDER/trl116, trl112, sb3 and imitation.
# Each has the same torch (and transformers) as ours (constraints.txt); nothing of ours is installed into them.
#
#     benchmarks/peers.sh [FOLDER]     # default .peers, where the benchmarks look
#
# The torch of the package index carries CUDA on Linux. For a CPU build, name an index that has one:
#     PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu benchmarks/peers.sh
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/../.peers}
python=${PYTHON:-python3}

for wanted in "$here"/peers/*.txt; do
    place=$folder/$(basename "$wanted" .txt)
    [ -x "$place/bin/python" ] || "$python" -m venv "$place"
    "$place/bin/pip" install -q --disable-pip-version-check -r "$wanted" -c "$here/../constraints.txt"
    # shellcheck source=/dev/null
    [ ! -f "${wanted%.txt}.sh" ] || source "${wanted%.txt}.sh"
    echo "$place: $("$place/bin/pip" freeze | grep -iE '^(trl|stable_baselines3|torch|transformers|gymnasium)==' | xargs)"
done
