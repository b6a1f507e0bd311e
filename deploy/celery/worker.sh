#!/bin/sh
# Warm workers for the runs of one installation; TRADING_HOME says which, TRADING_CELERY_URL where Redis is.
# They import the project before they fork, and are to be started again whenever it, or a setting, changes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONPATH TRADING_CELERY_URL="${TRADING_CELERY_URL:-redis://127.0.0.1:6379/0}"
exec "$here/.venv/bin/trading" exec -- "$here/.venv/bin/celery" -A dagster_celery.app worker \
  --include trading_orchestration.definitions --queues dagster --concurrency "${WORKERS:-6}" \
  --prefetch-multiplier 1 --max-tasks-per-child 500 --without-gossip --without-mingle --loglevel WARNING
