"""A replay whose jobs are Dagster runs: real, tagged, in a database of their own, same result."""

import json
from collections import Counter
from pathlib import Path

import psycopg

from trading_orchestration.domain.job import JobType
from trading_orchestration_tests.cli.command import Trading, start_process, without_replays

DATES = ("--from", "2012-01-03", "--to", "2012-01-04")


def test_every_job_of_a_replay_is_a_tagged_run_in_a_dagster_database_of_its_own(
    books: Trading, tmp_path: Path
) -> None:
    with without_replays(books):
        straight = books("replay", *DATES, "--commission", "1/order", "--trades", tmp_path / "straight.csv")
        assert straight.code == 0
        process = start_process(
            *("replay", *DATES, "--commission", "1/order", "--trades", tmp_path / "dagster.csv", "--dagster"),
            "--json",
            DATABASE_URL=books.url,
            TRADING_HOME=str(tmp_path),
        )
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        done = json.loads(out)
        assert done["problems"] == []
        assert (tmp_path / "dagster.csv").read_bytes() == (tmp_path / "straight.csv").read_bytes()
        kept = done["database"]
        assert sorted(books.replay_databases()) == [kept, f"{kept}_d"]
        with psycopg.connect(books.url_of(f"{kept}_d")) as dagster:
            runs = dagster.execute("SELECT pipeline_name, status FROM runs").fetchall()
            tagged = dagster.execute(
                "SELECT count(DISTINCT run_id) FROM run_tags "
                "WHERE (key, value) = ('trading/trigger', 'replay')"
            ).fetchall()
        assert Counter(name for name, _ in runs) == {
            JobType.STRATEGY_EXECUTION: 2,
            JobType.ORDER_STATUS_CHECK: 6,
            JobType.POSITION_SYNC: 6,
            JobType.PRICE_UPDATE: 4,
            JobType.ALERT_PRICE_CHECK: 4,
            JobType.PORTFOLIO_SNAPSHOT: 2,
        }
        assert {status for _, status in runs} == {"SUCCESS"}
        assert tagged == [(len(runs),)]
        with psycopg.connect(books.url_of(kept)) as connection:
            found = connection.execute(
                "SELECT execution_status, count(*) FROM job_executions GROUP BY 1"
            ).fetchall()
        assert found == [("completed", len(runs))]
