"""`order_status_check`: statements and time beyond HTTP for 10, 100 and 1,000 open orders."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import NAMESPACE_URL, uuid5

import sqlalchemy as sa

from benchmarks.installation import LIMITS, installation
from benchmarks.measure import Figure, median_s
from benchmarks.price_update import counting
from trading_orchestration.brokers import alpaca_rows
from trading_orchestration.brokers.alpaca_fields import unknown_fields
from trading_orchestration.brokers.broker import Broker, BrokerAccount, BrokerOrder, Execution, OrderStatus
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.trading import TradingService
from trading_orchestration.simulator.alpaca_formats import order_row
from trading_orchestration.simulator.market import Notes, OrderView
from trading_orchestration.store import portfolios, prices, trades
from trading_orchestration.store.database import transaction
from trading_orchestration.store.trades import Decision, NewTrade
from trading_orchestration.wiring import Trading

ROUNDS = 5
NOW = datetime(2024, 7, 3, 14, tzinfo=UTC)
TERMS = OrderTerms(
    symbol="S00000",
    side=Side.BUY,
    quantity=Decimal(100),
    order_type=OrderType.LIMIT,
    limit_price=Decimal(90),
)


def run() -> list[Figure]:
    """The same check of more and more orders takes the same number of statements."""
    with installation() as trading:
        return [figure for count in (10, 100, 1_000) for figure in _of(trading, count)]


def _of(trading: Trading, count: int) -> list[Figure]:
    orders = _open_orders(trading, count)
    new, *filled = [Answers(orders, number) for number in range(ROUNDS + 2)]
    with counting(trading.engine) as quiet:
        _check(trading, new)
    seconds_quiet = median_s(lambda: _check(trading, new), rounds=ROUNDS)
    rest = iter(filled)
    with counting(trading.engine) as busy:
        _check(trading, next(rest))
    seconds_busy = median_s(lambda: _check(trading, next(rest)), rounds=ROUNDS)
    name = f"order_status_check: {count} open orders"
    return [
        Figure(f"{name}, statements, nothing new", len(quiet), "", "constant"),
        Figure(f"{name}, beyond HTTP, nothing new", seconds_quiet * 1000, "ms", "≤ 1,000"),
        Figure(f"{name}, statements, all partly filled", len(busy), "", "constant"),
        Figure(f"{name}, beyond HTTP, all partly filled", seconds_busy * 1000, "ms", "≤ 1,000"),
    ]


@dataclass
class Answers:
    """A broker whose answers lie ready as Alpaca's JSON: reading them counts, the wait for them does not."""

    orders: Sequence[BrokerOrder]
    #: Shares of every order that are filled; the last of each is new.
    rounds: int
    executions: list[Execution] = field(init=False)
    text: str = field(init=False)

    def __post_init__(self) -> None:
        at = NOW + timedelta(seconds=self.rounds)
        self.executions = [self._execution(order, at) for order in self.orders] if self.rounds else []
        self.text = json.dumps([order_row(self._view(order)) for order in self.orders])

    def _execution(self, order: BrokerOrder, at: datetime) -> Execution:
        return Execution(
            execution_id=f"{order.broker_order_id}-{self.rounds}",
            broker_order_id=order.broker_order_id,
            symbol=order.terms.symbol,
            side=order.terms.side,
            quantity=Decimal(1),
            price=Decimal(90),
            cumulative_quantity=Decimal(self.rounds),
            executed_at=at,
        )

    def _view(self, order: BrokerOrder) -> OrderView:
        word = "partially_filled" if self.rounds else "new"
        return OrderView(
            order=order,
            notes=Notes(),
            word=word,
            filled_quantity=Decimal(self.rounds),
            expires_at=NOW + timedelta(hours=3),
        )

    def list_open_orders(self) -> Sequence[BrokerOrder]:
        rows: list[dict[str, Any]] = json.loads(self.text, parse_float=Decimal)
        for row in rows:
            assert not [*unknown_fields("order", row), *alpaca_rows.unknown_words(row)]
        return [alpaca_rows.read_order(row) for row in rows]

    def get_account(self) -> BrokerAccount:
        return BrokerAccount(
            account_number=f"BENCH{len(self.orders)}",
            currency="USD",
            cash=Decimal(0),
            equity=Decimal(0),
            buying_power=Decimal(0),
            is_blocked=False,
        )

    def unfamiliar(self) -> Sequence[str]:
        return ()

    def list_executions(self, *, after: datetime) -> Sequence[Execution]:
        return [execution for execution in self.executions if execution.executed_at > after]


def _open_orders(trading: Trading, count: int) -> list[BrokerOrder]:
    """A portfolio on an account of its own with that many orders at the broker."""
    number = f"BENCH{count}"
    new = NewPortfolio(
        name=f"orders-{count}",
        cash=Decimal(100_000_000),
        limits=LIMITS,
        broker="alpaca",
        account_number=number,
    )
    portfolio_id = open_portfolio(trading.engine, new, at=NOW - timedelta(days=1))
    names = [f"tp-bench-{count}-{n}" for n in range(count)]
    with transaction(trading.engine) as connection:
        prices.ensure_instruments(connection, [TERMS.symbol])
        decision = Decision(
            portfolio_id=portfolio_id,
            strategy_id=None,
            tick=NOW,
            session=NOW.date(),
            equity=Decimal(1),
            cash=Decimal(1),
            signals=[],
        )
        trades.add_trades(
            connection,
            portfolio_id=portfolio_id,
            broker_account_id=_account_of(connection, number).id,
            decision_id=cast("int", trades.add_decision(connection, decision)),
            trades=[
                NewTrade(terms=TERMS, client_order_id=name, reserved_cash=Decimal(10_000), reason="benchmark")
                for name in names
            ],
            decided_at=NOW,
        )
        orders = [_order(name) for name in names]
        connection.execute(
            sa.text(
                "UPDATE trades SET status = 'submitted', attempts = 1, broker_order_id = :order_id, "
                "submitted_at = :at WHERE client_order_id = :name"
            ),
            [{"order_id": o.broker_order_id, "at": NOW, "name": o.client_order_id} for o in orders],
        )
    return orders


def _order(name: str) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=str(uuid5(NAMESPACE_URL, name)),
        client_order_id=name,
        terms=TERMS,
        status=OrderStatus.OPEN,
        vendor_status="new",
        filled_quantity=Decimal(0),
        filled_average_price=None,
        submitted_at=NOW,
    )


def _account_of(connection: sa.Connection, number: str) -> portfolios.Account:
    return next(a for a in portfolios.read_accounts(connection) if a.account_number == number)


def _check(trading: Trading, answers: Answers) -> None:
    count = len(answers.orders)
    with transaction(trading.engine) as connection:
        account = _account_of(connection, f"BENCH{count}")
    broker = cast("Broker", answers)
    services = (
        Submission(trading.begin, broker, account, trading.entries, lambda: NOW),
        TradingService(trading.begin, broker, account, trading.calendar, lambda: NOW),
    )
    report = check_orders([services])
    assert not report.problems, report.problems
    assert report.counts["checked"] == count
