"""`trading demo`: what a newcomer sees first."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trading_orchestration.cli.output import (
    Column,
    Json,
    milliseconds,
    money,
    note,
    percent,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from trading_orchestration.domain.market_time import Session

_PORTFOLIOS = (
    Column("portfolio"),
    Column("total_value", "equity", money),
    Column("total_return", "return", percent),
    Column("cash", "cash", money),
    Column("position_count", "positions"),
    Column("trades"),
)
_JOBS = (
    Column("job_type", "job"),
    Column("runs"),
    Column("completed"),
    Column("failed"),
    Column("median_ms", "median", milliseconds),
    Column("p95_ms", "95 %", milliseconds),
)


def demo(
    serve: Annotated[bool, typer.Option(help="Leave the Dagster UI open at the end.")] = True,
    as_json: Json = False,
) -> None:
    """Trade four weeks of real prices with two portfolios, every job a Dagster run; then open the UI."""
    from trading_orchestration.cli.demo_sessions import run_demo
    from trading_orchestration.settings import read_settings

    settings = read_settings()
    if serve:
        from trading_orchestration.cli.system import require_ports

        require_ports(settings)
    if not as_json:
        note("Trading real sessions of 2012; every job is a Dagster run.")
    summary = run_demo(settings, tell=_tell)
    if as_json:
        print_json(summary)
    else:
        _print(summary)
    if serve:
        from trading_orchestration.cli.system import run_up

        run_up(settings, tell=note)


def _tell(session: "Session", number: int, of: int) -> None:
    early = " (early close)" if session.is_early_close else ""
    note(f"  {number:2}/{of}  {session.date:%a %Y-%m-%d}{early}")


def _print(summary: dict[str, Any]) -> None:
    print(
        f"\n{summary['sessions']} sessions, {summary['first_session']} to {summary['last_session']}, "
        f"in {summary['seconds']:.0f} s\n"
    )
    print_table(summary["portfolios"], _PORTFOLIOS, empty="No portfolio.")
    print()
    print_table(summary["jobs"], _JOBS, empty="No job.")
    print()
    for alert in summary["alerts"]:
        print(f"Alert fired: {alert['note']} (at {money(alert['triggered_price'])})")
    print("\nLook closer: trading trades, trading positions, trading jobs history strategy_execution\n")
