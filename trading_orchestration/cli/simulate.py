"""`trading simulate`: Alpaca and FMP on this machine, for tests and for working without a network."""

import json
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from trading_orchestration.cli.output import Json
from trading_orchestration.errors import InvalidInputError

if TYPE_CHECKING:
    from trading_orchestration.domain.market_time import MarketCalendar
    from trading_orchestration.simulator.server import Simulator


def simulate(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8790,
    at: Annotated[
        str | None,
        typer.Option(help="Market time to start at: a session's date, or an ISO instant."),
    ] = None,
    speed: Annotated[float, typer.Option(min=0, help="Market seconds in a real one; 0 stands still.")] = 1.0,
    cash: Annotated[str, typer.Option(help="What the account begins with.")] = "100000",
    account: Annotated[str | None, typer.Option(help="Paper account to go on with; else a new one.")] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, help="Alpaca's limit, counted here too.")
    ] = 200,
    as_json: Json = False,
) -> None:
    """Serve Alpaca's trading and data interfaces and FMP's, on the paper broker and the stored bars.

    Runs until Ctrl-C. It prints the variables that make a client speak to it instead of the vendors.
    """
    from trading_orchestration.brokers.paper_account import open_account
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.domain.money import parse_amount
    from trading_orchestration.simulator.clock import SimulatorClock
    from trading_orchestration.simulator.market import Market
    from trading_orchestration.simulator.server import PULSE_S, Simulator, listen, server_of
    from trading_orchestration.wiring import system_clock

    amount = parse_amount(cash, what="The cash")
    with open_installation() as opened, listen(port) as listening:
        start = _start(at, opened.calendar) if at else system_clock()
        number = account or f"SIM-{uuid4().hex[:8]}"
        open_account(opened.engine, number, Decimal(amount))
        market = Market(opened.engine, number, opened.calendar, SimulatorClock(start, speed=speed))
        simulator = Simulator(market)
        simulator.budget.per_minute = requests_per_minute
        server = server_of(simulator, listening, pulse_s=PULSE_S)
        _say_where(simulator, start, as_json=as_json)
        server.run(sockets=[listening])


def _start(at: str, calendar: "MarketCalendar") -> datetime:
    try:
        instant = datetime.fromisoformat(at)
    except ValueError:
        raise InvalidInputError(f"--at was {at!r}; give a date, or an instant with its offset.") from None
    if len(at) == len("2024-07-02"):
        return calendar.session(date.fromisoformat(at)).opens_at
    if instant.tzinfo is None:
        raise InvalidInputError(f"--at was {at!r}, which has no offset; write it like 2024-07-02T14:30:00Z.")
    return instant


def _say_where(simulator: "Simulator", start: datetime, *, as_json: bool) -> None:
    url, keys = simulator.url, simulator.keys
    variables = {
        "APCA_API_BASE_URL": url,
        "APCA_API_DATA_URL": url,
        "APCA_API_KEY_ID": keys.key_id,
        "APCA_API_SECRET_KEY": keys.secret_key,
        "FMP_BASE_URL": url,
        "FMP_API_KEY": keys.fmp_key,
    }
    number = simulator.market.account_number
    if as_json:
        told = {"url": url, "account_number": number, "at": start.isoformat(), "environment": variables}
        print(json.dumps(told), flush=True)
        return
    print(f"Alpaca and FMP, simulated, at {url}: account {number}, market time {start:%Y-%m-%d %H:%M:%S %Z}.")
    print("Ctrl-C ends it. A client in another terminal needs:")
    print("\n".join(f"export {name}={value}" for name, value in variables.items()), flush=True)
