"""The caches are the fold of the ledger, in whatever order and in whatever batches it is booked."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.portfolio_fold import PortfolioFold
from trading_orchestration.domain.reconciliation import Discrepancy
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.trade import Fill, OrderTerms, Side
from trading_orchestration.store import discrepancies, ledger, portfolios, prices, trades
from trading_orchestration.store.ledger import NewFill, Repair
from trading_orchestration.store.ledger_history import cash_histories
from trading_orchestration.store.trades import Decision, NewTrade

AT = datetime(2024, 7, 2, 14, tzinfo=UTC)
LIMITS = RiskLimits(
    max_position_pct=Decimal(1),
    max_positions=9,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal(0),
)
NUMBERS = count(1)


class Books:
    """A portfolio with a bottomless trade in each symbol and direction, to book fills on."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection
        number = next(NUMBERS)
        prices.ensure_instruments(connection, ["AAPL", "MSFT"])
        self.account_id = portfolios.add_account(
            connection, broker="paper", account_number=f"A{number}", environment="paper"
        )
        self.id = portfolios.add_portfolio(
            connection, name=f"p{number}", account_id=self.account_id, currency="USD", limits=LIMITS
        )
        self.trades = {
            (symbol, side): self._trade(symbol, side) for symbol in ("AAPL", "MSFT") for side in Side
        }

    def _trade(self, symbol: str, side: Side) -> int:
        number = next(NUMBERS)
        decision = Decision(
            portfolio_id=self.id,
            strategy_id=None,
            tick=AT + timedelta(microseconds=number),
            session=AT.date(),
            equity=Decimal(1),
            cash=Decimal(1),
            signals=[],
        )
        decision_id = trades.add_decision(self.connection, decision)
        assert decision_id is not None
        terms = OrderTerms(symbol=symbol, side=side, quantity=Decimal(10**9))
        trades.add_trades(
            self.connection,
            portfolio_id=self.id,
            broker_account_id=self.account_id,
            decision_id=decision_id,
            trades=[
                NewTrade(terms=terms, client_order_id=f"c{number}", reserved_cash=Decimal(0), reason="test")
            ],
            decided_at=AT,
        )
        return int(self.connection.execute(sa.text("SELECT max(id) FROM trades")).scalar_one())

    def fill(self, name: str, symbol: str, side: Side, quantity: str, price: str, minute: int) -> NewFill:
        fill = Fill(
            symbol=symbol,
            side=side,
            quantity=Decimal(quantity),
            price=Decimal(price),
            fee=Decimal("0.01"),
            executed_at=AT + timedelta(minutes=minute),
        )
        return NewFill(
            trade_id=self.trades[symbol, side],
            portfolio_id=self.id,
            execution_id=name,
            fill=fill,
            cumulative_quantity=fill.quantity,
            is_late=False,
        )

    def book(self, *fills: NewFill) -> int:
        """How many of them were new."""
        booked = ledger.add_fills(self.connection, self.account_id, fills)
        ledger.apply_booked_fills(self.connection, self.id, booked)
        return len(booked)

    def adjust(self, symbol: str | None, amount: str, minute: int, unit_cost: str | None = "50") -> None:
        discrepancy = Discrepancy(
            symbol=symbol, ours=Decimal(0), brokers=Decimal(amount), difference=Decimal(amount)
        )
        at = AT + timedelta(minutes=minute)
        discrepancy_id = discrepancies.add_discrepancy(
            self.connection, self.account_id, discrepancy, resolution="adjusted", run_id="run", at=at
        )
        cost = None if symbol is None or unit_cost is None else Decimal(unit_cost)
        ledger.add_adjustments(
            self.connection,
            discrepancy_id,
            discrepancy,
            [Repair(self.id, Decimal(amount), cost)],
            note="test",
            actor="test",
            at=at,
        )

    def cached(self) -> dict[str, tuple[Any, Any, Any]]:
        rows = self.connection.execute(
            sa.text(
                "SELECT symbol, quantity, average_cost, realised_pnl FROM positions WHERE portfolio_id = :id"
            ),
            {"id": self.id},
        )
        return {row.symbol: (row.quantity, row.average_cost, row.realised_pnl) for row in rows}

    def cash(self) -> Decimal:
        return ledger.account_cash(self.connection, self.account_id)[self.id]

    def assert_caches_are_the_fold(self) -> None:
        fold = self.fold(until=None)
        held = {symbol: state for symbol, state in self.cached().items() if state[0]}
        assert held == {p.symbol: (p.quantity, p.average_cost, p.realised_pnl) for p in fold.held}
        assert self.cash() == fold.cash

    def fold(self, *, until: datetime | None) -> PortfolioFold:
        """The ledger as of an instant, or all of it."""
        entries = ledger.position_entries(self.connection, portfolio_ids=[self.id], until=until)
        cash = cash_histories(self.connection)[self.id]
        fold = PortfolioFold({symbol: of for (_, symbol), of in entries.items()}, cash.amounts)
        fold.advance(until or datetime.max.replace(tzinfo=UTC))
        return fold


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        yield connection


@pytest.fixture
def books(connection: sa.Connection) -> Books:
    return Books(connection)


def test_a_fill_moves_position_and_cash(books: Books):
    assert books.book(books.fill("a", "AAPL", Side.BUY, "10", "100", 0)) == 1
    assert books.cached() == {"AAPL": (10, 100, Decimal("-0.01"))}
    assert books.cash() == Decimal("-1000.01")


def test_the_same_execution_counts_once_in_one_batch_and_in_two(books: Books):
    fill = books.fill("a", "AAPL", Side.BUY, "10", "100", 0)
    assert books.book(fill, fill) == 1
    assert books.book(fill) == 0
    assert books.cached() == {"AAPL": (10, 100, Decimal("-0.01"))}
    assert ledger.booked_executions(books.connection, books.account_id, ["a", "b"]) == {"a"}


def test_a_fill_that_comes_late_counts_where_it_belongs(books: Books):
    """News of the sale comes before news of the purchase: the P&L is that of the true order."""
    books.book(books.fill("sale", "AAPL", Side.SELL, "4", "120", 5))
    books.book(books.fill("buy", "AAPL", Side.BUY, "10", "100", 0))
    assert books.cached() == {"AAPL": (6, 100, Decimal("79.98"))}
    books.assert_caches_are_the_fold()


def test_a_flat_position_keeps_what_it_realised(books: Books):
    books.book(
        books.fill("a", "AAPL", Side.BUY, "2", "100", 0), books.fill("b", "AAPL", Side.SELL, "2", "110", 1)
    )
    assert books.cached() == {"AAPL": (0, 0, Decimal("19.98"))}
    assert ledger.read_positions(books.connection, [books.id]) == []


def test_an_adjustment_of_the_same_instant_counts_after_the_fills(books: Books):
    books.book(books.fill("a", "AAPL", Side.BUY, "10", "100", 0))
    books.adjust("AAPL", "-10", 0, None)
    books.book(books.fill("b", "AAPL", Side.BUY, "5", "80", 0))
    books.assert_caches_are_the_fold()


def test_cash_is_adjusted_alone(books: Books):
    books.adjust(None, "-3.5", 0)
    assert (books.cash(), books.cached()) == (Decimal("-3.5"), {})
    books.assert_caches_are_the_fold()


def test_money_in_and_out_counts_once_by_its_reference(books: Books):
    for _ in range(2):
        ledger.add_cash_movement(
            books.connection,
            portfolio_id=books.id,
            kind="deposit",
            amount=Decimal(100),
            reference="first",
            occurred_at=AT,
        )
    assert books.cash() == 100
    later = AT + timedelta(days=1)
    ledger.add_cash_movement(
        books.connection,
        portfolio_id=books.id,
        kind="withdrawal",
        amount=Decimal(-30),
        reference="second",
        occurred_at=later,
    )
    assert ledger.external_flows(books.connection, until=AT)[books.id] == [(AT, Decimal(100))]
    assert ledger.external_flows(books.connection, until=later)[books.id] == [
        (AT, Decimal(100)),
        (later, Decimal(-30)),
    ]
    assert books.fold(until=AT).cash == 100
    assert cash_histories(books.connection)[books.id].opened_at == AT


def test_the_fold_up_to_an_instant_includes_it_and_nothing_after(books: Books):
    books.book(
        books.fill("a", "AAPL", Side.BUY, "10", "100", 0), books.fill("b", "AAPL", Side.BUY, "1", "100", 1)
    )
    (position,) = books.fold(until=AT).held
    assert position.quantity == 10


def test_the_newest_difference_of_each_symbol_is_known(books: Books):
    books.adjust("AAPL", "1", 0)
    books.adjust("AAPL", "2", 1)
    books.adjust(None, "5", 2)
    last = discrepancies.last_discrepancies(books.connection, books.account_id)
    assert {symbol: row["difference"] for symbol, row in last.items()} == {"AAPL": 2, None: 5}


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(["AAPL", "MSFT"]),
        st.sampled_from([*Side, None]),
        st.sampled_from(["1", "2.5", "0.333333333", "7", "1000"]),
        st.sampled_from(["99.99", "100", "123.456789012"[:11], "0.0001"]),
        st.integers(0, 6),
    ),
    max_size=14,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(entries=ENTRIES, order=st.randoms(use_true_random=False))
def test_caches_equal_the_fold_after_every_booking_whatever_the_order(
    connection: sa.Connection, entries: list[tuple[str, Side | None, str, str, int]], order: Any
):
    books = Books(connection)
    steps = list(enumerate(entries))
    order.shuffle(steps)
    while steps:
        size = order.randint(1, 3)
        batch, steps = steps[:size], steps[size:]
        for number, (symbol, side, quantity, price, minute) in batch:
            if side is None:
                books.adjust(symbol, quantity, minute, price)
            else:
                books.book(books.fill(f"{books.id}-{number}", symbol, side, quantity, price, minute))
        books.assert_caches_are_the_fold()
