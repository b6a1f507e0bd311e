#!/bin/sh
# Makes deploy/celery/.venv: what the project is locked to, dagster-celery beside it, and the project itself.
set -eu
cd "$(dirname "$0")"
test -x .venv/bin/python || "${PYTHON:-python3}" -m venv .venv
.venv/bin/python -m pip install -q --disable-pip-version-check --require-hashes -r ../../requirements.lock
.venv/bin/python -m pip install -q --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --no-index -e ../..
.venv/bin/python -m pip check
