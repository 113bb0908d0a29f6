#!/usr/bin/env bash
# Tests the Airflow provider: first by itself, then in a real Airflow against a real server. Needs python3; the first time it downloads Airflow (300 MB).
# Usage: scripts/airflow.sh [PROGRAM]     PROGRAM: the `weir` to test with; built if absent
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
cache=${WEIR_CACHE:-$HOME/.cache/weir}
venv=$cache/airflow-3.3.2
if [ ! -e "$venv/ready" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check apache-airflow==3.3.2 apache-airflow-providers-http==6.3.0 pytest==9.2.0 wheel
    touch "$venv/ready"
fi
weir=${1:-}
if [ -z "$weir" ]; then
    cargo build --quiet --locked --profile quick --package weir
    weir=${CARGO_TARGET_DIR:-target}/quick/weir
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Installed as people have it, so that Airflow finds it by its entry point; from a copy, because building leaves files behind.
cp -r sdk/python/airflow-provider "$work/provider"
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target "$work/site" "$work/provider"
export PYTHONPATH=$work/site PYTHONDONTWRITEBYTECODE=1 AIRFLOW_HOME=$work/unit AIRFLOW__CORE__LOAD_EXAMPLES=False
export WEIR_BIN AIRFLOW_BIN=$venv/bin/airflow
WEIR_BIN=$(realpath "$weir")
cd "$work/provider"
"$venv/bin/python" -m pytest -q -p no:cacheprovider tests/test_api.py tests/test_tasks.py
"$venv/bin/python" -m pytest -q -p no:cacheprovider -m real --durations=8 --basetemp="$work/real" tests/real
