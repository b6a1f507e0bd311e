"""Ten years of snapshots, 20 portfolios of 50 symbols, in one Dagster run, beside one statement by hand.

Both write the same rows; that is compared. Database time is what PostgreSQL counts as active for our database
(`pg_stat_database.active_time`), with the time in which it waits for rows of a COPY.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import dagster as dg
import sqlalchemy as sa
from dagster._core.instance.ref import InstanceRef

from benchmarks.installation import installation, sessions
from benchmarks.measure import Figure
from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.domain.market_time import Session
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.store.installed import DatabaseUrls
from trading_orchestration.wiring import Trading

ROUNDS = 3
FIRST, LAST = date(2015, 1, 2), date(2024, 12, 31)
PORTFOLIOS, SYMBOLS = 20, 50
#: A fill of each symbol in each portfolio after so many sessions.
EVERY = 40
_HAND_WRITTEN = Path(__file__).with_name("hand_written.sql")

#: Prices wander the same way each time; every portfolio buys all symbols and trades on.
_BOOKS = Path(__file__).with_name("backfill_books.sql")
_SNAPSHOTS = (
    "SELECT portfolio_id, session, cash, positions_value, total_value, gross_value, position_count, "
    "net_deposits, daily_return, valued_at FROM portfolio_snapshots"
)
_LINES = (
    "SELECT portfolio_id, session, symbol, quantity, average_cost, close, value "
    "FROM portfolio_snapshot_positions"
)


def run() -> list[Figure]:
    """The same rows by both ways, in turn."""
    with installation() as trading, dagster_run_of(trading) as backfill:
        days = sessions(trading, FIRST, LAST)
        _make_books(trading.engine, days)
        ours: list[tuple[float, float]] = []
        by_hand: list[tuple[float, float]] = []
        for number in range(ROUNDS):
            _truncate(trading.engine)
            by_hand.append(_measured(trading.engine, lambda: _write_by_hand(trading.engine, days)))
            if number == 0:
                _keep(trading.engine)
            _truncate(trading.engine)
            ours.append(_measured(trading.engine, lambda: backfill(days)))
            told = f"round {number + 1}: by hand {by_hand[-1][0]:.1f} s, in a run {ours[-1][0]:.1f} s"
            print(told, file=sys.stderr, flush=True)
        _compare(trading.engine)
        again = _measured(trading.engine, lambda: backfill(days))
    database, hand = (statistics.median(seconds for seconds, _ in rounds) for rounds in (ours, by_hand))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = f"backfill: {len(days)} sessions × {PORTFOLIOS} portfolios × {SYMBOLS} symbols"
    return [
        Figure(f"{name}, one statement by hand", hand, "s of database time"),
        Figure(f"{name}, one Dagster run", database, "s of database time"),
        Figure(f"{name}, times the statement", database / hand, "×", "≤ 3"),
        Figure(f"{name}, wall time of the run", statistics.median(wall for _, wall in ours), "s"),
        Figure(f"{name}, over rows that are there", again[0], "s of database time"),
        Figure(f"{name}, peak memory of the process", peak_mb, "MB", "bounded"),
    ]


@contextmanager
def dagster_run_of(trading: Trading) -> Iterator[Callable[[Sequence[Session]], None]]:
    """What backfills a range in one run of the job, on an instance beside the books."""
    from trading_orchestration.definitions import build_definitions

    url = trading.engine.url.set(drivername="postgresql")
    own = url.render_as_string(hide_password=False)
    beside = url.set(database="dagster").render_as_string(hide_password=False)
    os.environ |= dagster_environment(trading.settings, DatabaseUrls(own, beside))
    TradingResource.open = lambda _self: trading  # type: ignore[method-assign, assignment]
    job = build_definitions().resolve_job_def("portfolio_snapshot")
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(os.environ["DAGSTER_HOME"])) as instance:

        def backfill(days: Sequence[Session]) -> None:
            tags = {
                "dagster/asset_partition_range_start": days[0].date.isoformat(),
                "dagster/asset_partition_range_end": days[-1].date.isoformat(),
            }
            quiet = {"loggers": {"console": {"config": {"log_level": "ERROR"}}}}
            done = job.execute_in_process(instance=instance, tags=tags, run_config=quiet)
            if not done.success:
                raise RuntimeError("The backfill failed.")

        yield backfill


def _make_books(engine: Engine, days: Sequence[Session]) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        _name_sessions(connection, days)
        given = {"symbols": SYMBOLS, "portfolios": PORTFOLIOS, "every": EVERY}
        for statement in map(sa.text, _BOOKS.read_text().split(";\n")):
            connection.execute(statement, {name: given[name] for name in statement.compile().params})


def _name_sessions(connection: sa.Connection, days: Sequence[Session]) -> None:
    connection.execute(
        sa.text(
            "CREATE TEMPORARY TABLE sessions ON COMMIT DROP AS SELECT * FROM unnest(CAST(:days AS date[]), "
            "CAST(:opens AS timestamptz[]), CAST(:closes AS timestamptz[])) "
            "WITH ORDINALITY AS s (session, opens_at, closes_at, number)"
        ),
        {
            "days": [day.date for day in days],
            "opens": [day.opens_at for day in days],
            "closes": [day.closes_at for day in days],
        },
    )
    connection.exec_driver_sql("CREATE INDEX ON sessions (closes_at)")
    connection.exec_driver_sql("ANALYZE sessions")


def _write_by_hand(engine: Engine, days: Sequence[Session]) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        _name_sessions(connection, days)
        connection.exec_driver_sql(_HAND_WRITTEN.read_text())


def _truncate(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("TRUNCATE portfolio_snapshots, portfolio_snapshot_positions")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("CHECKPOINT")


def _measured(engine: Engine, work: Callable[[], None]) -> tuple[float, float]:
    """Seconds of database time, and of wall time."""
    before, start = _active_s(engine), time.perf_counter()
    work()
    wall = time.perf_counter() - start
    return _active_s(engine) - before, wall


def _active_s(engine: Engine) -> float:
    engine.dispose()  # what a session counted is told at its end at the latest
    time.sleep(2)
    with transaction(engine) as connection:
        active_ms = connection.exec_driver_sql(
            "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
        ).scalar_one()
    return float(active_ms) / 1000


def _keep(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql(f"CREATE TABLE snapshots_by_hand AS {_SNAPSHOTS}")
        connection.exec_driver_sql(f"CREATE TABLE lines_by_hand AS {_LINES}")
        connection.exec_driver_sql(
            "CREATE TABLE returns_by_hand AS SELECT portfolio_id, session, total_return "
            "FROM portfolio_snapshots"
        )


def _compare(engine: Engine) -> None:
    """Both ways wrote the same; by hand the return since the start is a sum of logarithms, near enough."""
    with transaction(engine) as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        for ours, by_hand in ((_SNAPSHOTS, "snapshots_by_hand"), (_LINES, "lines_by_hand")):
            both = f"(SELECT count(*) FROM ({ours}) o), (SELECT count(*) FROM {by_hand})"
            one, other = connection.exec_driver_sql(f"SELECT {both}").one()
            differing = connection.exec_driver_sql(
                f"SELECT count(*) FROM ({ours} EXCEPT SELECT * FROM {by_hand}) d"
            ).scalar_one()
            if differing or not one or one != other:
                raise RuntimeError(f"{differing} of {one} rows differ from {other} in {by_hand}.")
        apart = connection.exec_driver_sql(
            "SELECT max(abs(s.total_return - h.total_return)) FROM portfolio_snapshots s "
            "JOIN returns_by_hand h USING (portfolio_id, session)"
        ).scalar_one()
        if apart > Decimal("1e-8"):
            raise RuntimeError(f"Returns since the start are up to {apart} apart.")
