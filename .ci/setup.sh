#!/bin/sh
# sh .ci/setup.sh [EXTRA]: makes the environment $ENVIRONMENT (.venv, if not given) and installs corrlib with an extra of
# pyproject.toml into it. Does nothing where that was done and neither pyproject.toml nor constraints.txt is newer.
# PYTHON_FOR_VENV names the Python to make .venv with; else the first that fits of those below.
set -eu
cd "$(dirname "$0")/.."
environment=${ENVIRONMENT:-.venv} extra=${1:-}
python=$environment/bin/python
stamp=$environment/.corrlib${extra:+-$extra}-installed
if [ "$stamp" -nt pyproject.toml ] && [ "$stamp" -nt constraints.txt ] && [ -x "$python" ]; then
    exit 0
fi

if [ ! -x "$python" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
    chosen=
    for candidate in ${PYTHON_FOR_VENV:+"$PYTHON_FOR_VENV"} python3.11 python3.12 python3.13 python3.14 python3; do
        # a name may be there and lead nowhere, as pyenv's do, or lack what makes a venv, as Debian's may
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null && "$candidate" .ci/python_fits.py >/dev/null; then
            chosen=$candidate
            break
        elif [ "$candidate" = "${PYTHON_FOR_VENV:-}" ]; then
            echo "PYTHON_FOR_VENV=$candidate is no Python with venv that fits: $("$candidate" .ci/python_fits.py 2>&1 || true)" >&2
            exit 1
        fi
    done
    if [ -z "$chosen" ]; then
        echo "no Python with venv was found that fits: $(python3 .ci/python_fits.py 2>&1 || true) Install Python 3.11" \
            "(on Debian and Ubuntu: python3.11 and python3.11-venv), or name one: make PYTHON_FOR_VENV=/path/to/python3.12" >&2
        exit 1
    fi
    echo "making $environment with $("$chosen" --version)"
    "$chosen" -m venv --clear "$environment"
fi

"$python" .ci/python_fits.py >&2
version=$("$python" -c 'import sys; print("Python %d.%d" % sys.version_info[:2])')
exact=
if [ "$version" = "$(sed -n '1s/^# \(Python [0-9.]*\):.*/\1/p' constraints.txt)" ]; then
    exact=constraints.txt
fi
echo "installing corrlib${extra:+[$extra]} into $environment: some minutes, once${exact:+; the releases are those of $exact}"
"$python" -m pip install --quiet --disable-pip-version-check --no-compile ${exact:+--constraint "$exact"} \
    --editable ".${extra:+[$extra]}"
# pip compiles on one core, and the packages' tests, too
"$python" -m compileall -qq -j 0 -x '/tests/' "$environment/lib" || true
touch "$environment/.corrlib-installed" "$stamp"
