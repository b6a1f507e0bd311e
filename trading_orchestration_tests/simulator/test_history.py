"""What Alpaca says the account was worth, by our client and by Alpaca's own, and beside our snapshots."""

import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from trading_orchestration.brokers.alpaca_rows import equity_window, read_equities
from trading_orchestration.brokers.broker import BrokerEquity, HasEquityHistory
from trading_orchestration.brokers.paper import PaperBroker
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.services.snapshot_checks import check_equity
from trading_orchestration.store import portfolios, snapshots
from trading_orchestration.store.database import transaction
from trading_orchestration.store.portfolios import Account
from trading_orchestration.store.snapshots import Snapshot
from trading_orchestration.vendor_http.failures import UnreadableAnswerError
from trading_orchestration_tests.contracts.broker_world import CASH
from trading_orchestration_tests.services.trading_world import LIMITS
from trading_orchestration_tests.simulator.simulated_world import SimulatedWorld, simulated_world
from trading_orchestration_tests.simulator.stored_bars import market_with_bars

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # alpaca-py still uses websockets.legacy
    from alpaca.trading.client import TradingClient
    from alpaca.trading.requests import GetPortfolioHistoryRequest

MONDAY, TUESDAY = date(2024, 7, 1), date(2024, 7, 2)
#: AAPL closes at 206 on Tuesday.
WORTH = CASH + 10 * (206 - 190)


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with market_with_bars(server_url, template) as engine:
        yield engine


@pytest.fixture(scope="module")
def world(market: sa.Engine) -> Iterator[SimulatedWorld]:
    """10 AAPL were bought at 190 on Tuesday; it is Tuesday night."""
    with simulated_world(market) as world:
        world.set_price("AAPL", Decimal(190))
        world.broker.submit_order("first", OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(10)))
        world.advance(datetime(2024, 7, 3, 4, tzinfo=UTC))
        yield world


def test_each_session_has_its_equity_at_the_close(world: SimulatedWorld) -> None:
    assert isinstance(world.broker, HasEquityHistory)
    found = world.broker.get_equity_history(first=MONDAY, last=TUESDAY)
    assert found == [
        BrokerEquity(session=MONDAY, equity=CASH),
        BrokerEquity(session=TUESDAY, equity=WORTH),
    ]
    assert world.broker.get_equity_history(first=date(2024, 6, 29), last=date(2024, 6, 30)) == []


def test_alpaca_py_reads_the_same(world: SimulatedWorld) -> None:
    keys = world.simulator.keys
    client: Any = TradingClient(keys.key_id, keys.secret_key, paper=True, url_override=world.simulator.url)
    wanted = GetPortfolioHistoryRequest(timeframe="1D", start=datetime(2024, 7, 1, 12, tzinfo=UTC))
    history = client.get_portfolio_history(wanted)
    client._session.close()
    assert [Decimal(str(value)) for value in history.equity] == [CASH, WORTH]
    assert (history.timeframe, history.base_value) == ("1D", float(CASH))
    # As in Alpaca's examples: a day's instant is the end of its trading after hours.
    assert [datetime.fromtimestamp(at, UTC).hour for at in history.timestamp] == [0, 0]


def test_the_published_example_is_of_four_sessions() -> None:
    """From Alpaca's own specification: the base is that of 2026-04-06, a Monday."""
    row = {
        "timestamp": [1775606400, 1775692800, 1775779200, 1775865600],
        "equity": [Decimal("8425.21"), Decimal("8639.77"), None, Decimal("8835.31")],
    }
    assert [(day.session.day, day.equity) for day in read_equities(row)] == [
        (7, Decimal("8425.21")),
        (8, Decimal("8639.77")),
        (10, Decimal("8835.31")),
    ]
    assert equity_window(MONDAY, TUESDAY) == {
        "timeframe": "1D",
        "start": "2024-07-01T09:30:00-04:00",
        "end": "2024-07-02T20:00:00-04:00",
    }


@pytest.mark.parametrize("row", [{}, {"timestamp": [1], "equity": []}, {"timestamp": ["x"], "equity": [1]}])
def test_a_history_that_makes_no_sense_is_refused(row: dict[str, Any]) -> None:
    with pytest.raises(UnreadableAnswerError, match="portfolio history"):
        read_equities(row)


@pytest.fixture
def account(world: SimulatedWorld) -> Account:
    """Two portfolios of an account of ours, whose snapshots add up to what it was worth on both days."""
    engine = world.market.engine
    with transaction(engine) as connection:
        account_id = portfolios.add_account(
            connection, broker="alpaca", account_number=uuid4().hex, environment="paper"
        )
        for number, share in enumerate((Decimal("0.25"), Decimal("0.75"))):
            portfolio_id = portfolios.add_portfolio(
                connection,
                name=f"p{account_id}-{number}",
                account_id=account_id,
                currency="USD",
                limits=LIMITS,
            )
            connection.execute(
                sa.text(
                    "INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at) "
                    "VALUES (:id, 'deposit', 1, 'first', '2024-06-24')"
                ),
                {"id": portfolio_id},
            )
            snapshots.save_snapshots(
                connection,
                [_cash(portfolio_id, MONDAY, CASH * share), _cash(portfolio_id, TUESDAY, WORTH * share)],
            )
        return next(a for a in portfolios.read_accounts(connection) if a.id == account_id)


def _cash(portfolio_id: int, session: date, cash: Decimal) -> Snapshot:
    return Snapshot(
        portfolio_id=portfolio_id,
        session=session,
        cash=cash,
        positions_value=Decimal(0),
        total_value=cash,
        gross_value=Decimal(0),
        net_deposits=Decimal(0),
        daily_return=None,
        total_return=None,
        valued_at=datetime(session.year, session.month, session.day, 20, tzinfo=UTC),
        positions=[],
    )


NIGHT = datetime(2024, 7, 3, 12, tzinfo=UTC)


def test_the_sum_of_an_accounts_portfolios_is_compared_with_its_equity(
    world: SimulatedWorld, account: Account
) -> None:
    begin = partial(transaction, world.market.engine)
    found = check_equity(begin, [(account, world.broker)], NIGHT)
    name = f"alpaca account {account.account_number}"
    assert (found.problems, found.summary) == (
        [],
        f"Compared with the broker's equity: 2 sessions of the {name}.",
    )
    with begin() as connection:
        connection.exec_driver_sql(
            "UPDATE portfolio_snapshots SET cash = cash + 100, total_value = total_value + 100 "
            f"WHERE session = '2024-07-02' AND portfolio_id = (SELECT max(id) FROM portfolios "
            f"WHERE broker_account_id = {account.id})"
        )
    (problem,) = check_equity(begin, [(account, world.broker)], NIGHT).problems
    assert problem == (
        f"2024-07-02: the {name} was worth {WORTH:,.2f} by the broker and {WORTH + 100:,.2f} by our "
        "snapshots."
    )


def test_a_session_that_is_young_or_lacks_a_portfolio_is_not_compared(
    world: SimulatedWorld, account: Account
) -> None:
    begin = partial(transaction, world.market.engine)
    early = check_equity(begin, [(account, world.broker)], NIGHT - timedelta(hours=5))
    assert "equity: 1 session of" in early.summary
    with begin() as connection:
        connection.exec_driver_sql(
            "DELETE FROM portfolio_snapshots WHERE session = '2024-07-01' AND portfolio_id = "
            f"(SELECT max(id) FROM portfolios WHERE broker_account_id = {account.id})"
        )
        connection.exec_driver_sql(
            "UPDATE portfolio_snapshots SET stale_since = now(), stale_reason = 'test' "
            f"WHERE session = '2024-07-02' AND portfolio_id IN (SELECT id FROM portfolios "
            f"WHERE broker_account_id = {account.id})"
        )
    assert check_equity(begin, [(account, world.broker)], NIGHT).summary.startswith("No session of")


def test_a_broker_without_a_history_is_said_to_have_none(world: SimulatedWorld, account: Account) -> None:
    paper = world.market.broker
    assert isinstance(paper, PaperBroker)
    found = check_equity(partial(transaction, world.market.engine), [(account, paper)], NIGHT)
    assert found.has_passed
    assert "keeps no history of its equity" in found.summary


def test_a_broker_that_does_not_answer_is_a_problem(
    world: SimulatedWorld, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_given: Any, **_named: Any) -> Any:
        raise BrokerUnavailableError("the line is dead")

    monkeypatch.setattr(type(world.broker), "get_equity_history", unavailable)
    (problem,) = check_equity(
        partial(transaction, world.market.engine), [(account, world.broker)], NIGHT
    ).problems
    assert problem.endswith("could not be asked: the line is dead")
