#!/bin/sh
# sh .ci/carry.sh FOLDER: what `make gpu`'s script needs beside torch, torchaudio, transformers, numpy, pandas and
# safetensors, unpacked into a folder, for a machine on which nothing can be fetched: Linux on x86-64, with the Python
# that $PYTHON_CARRIED names (3.12, if not given). There: PYTHONPATH=FOLDER:. python -m corrlib.benchmarks.gpu
set -eu
cd "$(dirname "$0")/.."
[ -n "${1:-}" ] || { echo "name a folder: make gpu-carry TO=carried" >&2; exit 2; }
"${ENVIRONMENT:-.venv}/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --upgrade \
    --only-binary :all: --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 --implementation cp \
    --python-version "${PYTHON_CARRIED:-3.12}" --constraint constraints.txt --target "$1" \
    pydantic pydantic-core annotated-types typing-inspection typing-extensions soundfile cffi hear21passt
find "$1" -name tests -type d -prune -exec rm -r {} +
echo "$(du -sm "$1" | cut -f1) MB in $1"
