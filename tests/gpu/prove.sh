#!/usr/bin/env bash
# Proves on a CUDA machine, in nine minutes at most, that the console works there, and measures how fast.
#
#     tests/gpu/prove.sh [--rehearse] [--out DIR] [PART ...]
#
# Without a PART: every part, each within its own time limit; `--list` names them. A JSON file, a table and the full log of
# every part stay in DIR (default $OUT, else build/gpu-proof). `--rehearse` runs on the CPU with small sizes and names
# what it leaves out.
#
# Python is $PYTHON, else .venv/bin/python, else python3. Packages that it lacks are installed from $WHEELS (default
# build/wheels) into a folder that is appended to PYTHONPATH; nothing is fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
WHEELS=${WHEELS:-build/wheels}
PACKAGES=$PWD/build/gpu-proof-packages
if compgen -G "$WHEELS/*.whl" > /dev/null; then
    "$PYTHON" -m pip install --disable-pip-version-check --quiet --no-index --no-deps --upgrade \
        --target "$PACKAGES" "$WHEELS"/*.whl
    export PYTHONPATH="${PYTHONPATH:+$PYTHONPATH:}$PACKAGES"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "$PYTHON" -P -m tests.gpu.proof "$@"
