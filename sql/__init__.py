"""The SQL of the project: `schema.sql` (the readable whole), `migrations/` and `queries/`.

Installed as `trading_orchestration.sql`; read by `store/migrations.py` and `store/database.py`.
"""
