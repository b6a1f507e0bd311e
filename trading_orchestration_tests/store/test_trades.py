"""A claim belongs to one worker; an attempt is on record before it is made; fills shrink the reserve."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import Side, TradeStatus
from trading_orchestration.store import trades
from trading_orchestration.store.database import create_engine, transaction
from trading_orchestration.store.trades import Claim, Progress
from trading_orchestration_tests.services.trading_world import AAPL, MSFT, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    return TradingWorld(engine)


@pytest.fixture
def connection(engine: sa.Engine, world: TradingWorld) -> Iterator[sa.Connection]:
    for _ in range(3):
        world.intend(quantity=10, reserved=1000)
    with engine.begin() as connection:
        yield connection


def claim(connection: sa.Connection, world: TradingWorld, **options: int) -> list[Claim]:
    settings = {"lease_s": 45, "limit": 50} | options
    return trades.claim_trades(connection, world.account.id, except_ids=(), **settings)


def test_a_decision_of_a_strategy_at_a_tick_is_made_once(world: TradingWorld):
    strategy_id = world.add_strategy()
    decision = world._decision(world.ids["main"], strategy_id)
    with world.begin() as connection:
        assert trades.add_decision(connection, decision) is not None
        assert trades.add_decision(connection, decision) is None
        assert trades.decided_portfolios(connection, world.now) == set(), "only the portfolio's own counts"
        exits = world._decision(world.ids["main"], None)
        assert trades.add_decision(connection, exits) is not None
        assert trades.add_decision(connection, exits) is None
        assert trades.decided_portfolios(connection, world.now) == {world.ids["main"]}


def test_a_claim_is_exclusive_until_its_lease_is_over(connection: sa.Connection, world: TradingWorld):
    assert [c.trade.id for c in claim(connection, world, limit=2, lease_s=0)] == [1, 2]
    assert [c.trade.id for c in claim(connection, world, limit=2)] == [1, 2], "both leases are over"
    assert [c.trade.id for c in claim(connection, world)] == [3]
    assert claim(connection, world) == []


def test_a_claim_names_exits_and_what_was_never_sent(world: TradingWorld):
    world.intend(Side.BUY)
    world.intend(Side.SELL, 5)
    world.intend(Side.BUY, is_risk_exit=True)
    with world.begin() as connection:
        found = claim(connection, world)
    assert [(c.trade.terms.side, c.is_exit, c.trade.attempts) for c in found] == [
        (Side.SELL, True, 0),
        (Side.BUY, False, 0),
        (Side.BUY, True, 0),
    ]


def test_an_attempt_is_counted_once_and_only_under_the_claim(connection: sa.Connection, world: TradingWorld):
    (mine, *_) = claim(connection, world)
    begun = trades.begin_attempt(connection, mine, lease_s=45)
    assert begun is not None
    assert begun.trade.attempts == 1
    assert begun.lease_until > mine.lease_until
    assert trades.begin_attempt(connection, mine, lease_s=45) is None, "the lease has another name now"


def test_what_never_left_is_as_if_it_had_not_been_tried(connection: sa.Connection, world: TradingWorld):
    (mine, *_) = claim(connection, world)
    begun = trades.begin_attempt(connection, mine, lease_s=45)
    assert begun is not None
    trades.take_back_attempt(connection, begun)
    row = world_trade(connection, mine.trade.id)
    assert (row.status, row.attempts, row.lease_until) == ("pending", 0, None)


def test_released_claims_are_new_again_or_to_be_asked_for(connection: sa.Connection, world: TradingWorld):
    first, second, third = claim(connection, world)
    begun = trades.begin_attempt(connection, first, lease_s=45)
    assert begun is not None
    trades.release_claims(connection, [begun, second, Claim(third.trade, first.lease_until, is_exit=False)])
    states = [world_trade(connection, c.trade.id).status for c in (first, second, third)]
    assert states == ["submitting", "pending", "submitting"]
    assert [c.trade.id for c in claim(connection, world)] == [1, 2], "the third is still somebody's"


def test_the_broker_has_an_order_once(connection: sa.Connection, world: TradingWorld):
    (mine, *_) = claim(connection, world)
    answers = [
        trades.set_submitted(connection, mine.trade.id, broker_order_id="x", submitted_at=world.now)
        for _ in range(2)
    ]
    assert answers == [True, False]
    assert not trades.set_not_sent(connection, mine, status=TradeStatus.REJECTED, reason="late", at=world.now)


def test_a_worker_does_not_wait_for_what_another_is_claiming(world: TradingWorld, database_url: str):
    for _ in range(3):
        world.intend()
    other = create_engine(database_url, application_name="tests")
    with transaction(world.engine) as first, transaction(other) as second:
        assert [c.trade.id for c in claim(first, world, limit=2)] == [1, 2]
        assert [c.trade.id for c in claim(second, world)] == [3]
    other.dispose()


def test_workers_that_claim_at_once_share_nothing(world: TradingWorld):
    for _ in range(40):
        world.intend(quantity=1)

    def take() -> list[int]:
        with transaction(world.engine) as connection:
            return [c.trade.id for c in claim(connection, world, limit=7)]

    with ThreadPoolExecutor(4) as pool:
        taken = [trade_id for found in pool.map(lambda _: take(), range(6)) for trade_id in found]
    assert sorted(taken) == list(range(1, 41))


def test_a_final_trade_keeps_its_status_and_takes_the_quantity_of_a_late_fill(world: TradingWorld):
    trade_id = world.intend(quantity=10)
    world.set_price(AAPL, "100")
    world.send()
    for status, filled in ((TradeStatus.CANCELLED, 0), (TradeStatus.FILLED, 10)):
        with world.begin() as connection:
            progress = Progress(
                trade_id=trade_id, status=status, filled_quantity=Decimal(filled), reason=None
            )
            trades.set_progress(connection, [progress], at=world.now)
    assert world.status(trade_id) == ("cancelled", 10)


def test_a_reserve_shrinks_with_the_part_that_is_filled(world: TradingWorld):
    trade_id = world.intend(quantity=10, reserved=1040)
    world.set_price(AAPL, "100")
    world.send()
    progress = Progress(
        trade_id=trade_id, status=TradeStatus.PARTIALLY_FILLED, filled_quantity=Decimal(4), reason=None
    )
    with world.begin() as connection:
        trades.set_progress(connection, [progress], at=world.now)
        (opened,) = trades.open_trades_of_portfolio(connection, world.ids["main"])
    assert [opened.quantity, opened.reserved_cash] == [6, 624]


def test_people_see_the_newest_trades_oldest_first(world: TradingWorld):
    world.set_price(AAPL, "100")
    world.set_price(MSFT, "100")
    for symbol in (AAPL, MSFT, AAPL):
        world.intend(symbol=symbol, quantity=1)
    world.check()
    still_open = world.intend(quantity=2)
    with world.begin() as connection:
        assert [r["symbol"] for r in trades.list_trades(connection, limit=3)] == [MSFT, AAPL, AAPL]
        assert [r["id"] for r in trades.list_trades(connection, is_open=True)] == [still_open]
        filled = trades.list_trades(connection, symbol=MSFT, portfolio="main", session=world.now.date())
        assert [(r["average_price"], r["strategy"]) for r in filled] == [(100, "by-hand")]
        assert trades.list_trades(connection, portfolio="other") == []


def test_equity_at_the_open_is_the_first_that_was_known_and_moves_with_what_is_put_in(world: TradingWorld):
    portfolio_id, opened = world.ids["main"], world.now
    with world.begin() as connection:
        for equity in (0, 100, 90):
            world.advance(timedelta(minutes=15))
            decision = world._decision(portfolio_id, None)
            object.__setattr__(decision, "equity", Decimal(equity))
            trades.add_decision(connection, decision)
        assert trades.equity_at_open(connection, portfolio_id, since=opened) == 100
        assert trades.equity_at_open(connection, portfolio_id, since=world.now + timedelta(1)) is None
        connection.execute(
            sa.text(
                "INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at) VALUES "
                "(:id, 'deposit', 7, 'more', :at), (:id, 'interest', 5, 'interest', :at)"
            ),
            {"id": portfolio_id, "at": world.now},
        )
        assert trades.equity_at_open(connection, portfolio_id, since=opened) == 107


def world_trade(connection: sa.Connection, trade_id: int) -> sa.Row[tuple[object, ...]]:
    statement = sa.text("SELECT status, attempts, lease_until FROM trades WHERE id = :id")
    return connection.execute(statement, {"id": trade_id}).one()
