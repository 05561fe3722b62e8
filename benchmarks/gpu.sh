#!/usr/bin/env bash
# Checks and times ours on a GPU, without a network and without installing it: see gpu.py, or --help.
#
#     benchmarks/gpu.sh [--json gpu.json]
#     PYTHON=/path/to/python benchmarks/gpu.sh --device cpu --tiny
#
# The Python is $PYTHON, or this folder's .venv, or python3; it needs torch, transformers and what is named below.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-}
if [ -z "$python" ]; then
    python=python3
    [ -x "$here/../.venv/bin/python" ] && python=$here/../.venv/bin/python
fi
"$python" - "$python" <<'CHECK'
import sys
from importlib.util import find_spec

needed = ("torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "rich", "tensorboard", "jinja2")
if missing := [name for name in needed if find_spec(name) is None]:
    sys.exit(f"benchmarks/gpu.sh: {sys.argv[1]} lacks {', '.join(missing)}: install them, or name another PYTHON")
CHECK
export PYTHONPATH="$here/../src:$here" HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
exec "$python" "$here/gpu.py" "$@"
