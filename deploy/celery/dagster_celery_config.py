"""The workers' settings, under the name that dagster-celery looks for; the launcher's are in dagster.yaml."""

import os

broker_url = result_backend = os.environ["TRADING_CELERY_URL"]
broker_connection_retry_on_startup = True
worker_hijack_root_logger = False
