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

say_and_stop() {
    echo "$*" >&2
    exit 1
}

makes_environments() { # a name may be there and lead nowhere, as pyenv's do, or lack venv, as Debian's do
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

why_not() {
    if makes_environments "$1"; then "$1" .ci/python_fits.py || true; else echo "$1 is not there, or has no venv."; fi
}

if ! "$python" -m pip --version >/dev/null 2>&1; then
    [ "$environment" = .venv ] || say_and_stop "$environment has no Python with pip: run conda install python=3.11 pip, or" \
        "conda deactivate, after which .venv is used"
    chosen=
    set -- python3.11 python3.12 python3.13 python3.14 python3
    [ -z "${PYTHON_FOR_VENV:-}" ] || set -- "$PYTHON_FOR_VENV"
    for candidate in "$@"; do
        if makes_environments "$candidate" && "$candidate" .ci/python_fits.py >/dev/null; then
            chosen=$candidate
            break
        fi
    done
    [ -n "$chosen" ] || say_and_stop "no Python was found that fits: $(why_not "${PYTHON_FOR_VENV:-python3}") Install" \
        "Python 3.11 with venv, or name one: make PYTHON_FOR_VENV=/path/to/python3.12"
    echo "making $environment with $("$chosen" --version)"
    "$chosen" -m venv --clear "$environment"
fi

reason=$("$python" .ci/python_fits.py) || say_and_stop "$environment cannot be used: $reason Remove it, or make it with" \
    "another Python"
[ -z "$reason" ] || echo "$reason"
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
