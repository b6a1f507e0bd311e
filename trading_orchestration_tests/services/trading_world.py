"""A small installation in which tests trade: portfolios that share one paper account, and its market."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from trading_orchestration.brokers.paper import PaperBroker
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.matching import PaperSettings, PriceTick
from trading_orchestration.domain.price import Bar, Quote, Timeframe
from trading_orchestration.domain.risk import RiskLimits
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, client_order_id
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.entry_check import EntryCheck
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.services.position_sync import sync_positions
from trading_orchestration.services.strategy_execution import StrategyExecution
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import TradingService
from trading_orchestration.store import portfolios, prices, trades
from trading_orchestration.store.database import transaction
from trading_orchestration.store.portfolios import Account, HaltLevel
from trading_orchestration.store.trades import Decision, NewTrade
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK
from trading_orchestration_tests.services.scripted_broker import ScriptedBroker

AAPL, MSFT, IBM = "AAPL", "MSFT", "IBM"
CASH = Decimal(100_000)
#: Tuesday 10:00 in New York; the exchange closes at 20:00 UTC.
START = datetime(2024, 7, 2, 14, 0, tzinfo=UTC)
LIMITS = RiskLimits(
    max_position_pct=Decimal("0.5"),
    max_positions=10,
    stop_loss_pct=Decimal("0.1"),
    take_profit_pct=None,
    max_daily_loss_pct=Decimal("0.05"),
    min_cash_pct=Decimal("0.02"),
)


def daily_bar(symbol: str, opens_at: datetime, close: Decimal) -> Bar:
    """A bar whose four prices are one."""
    return Bar(
        symbol=symbol,
        timeframe=Timeframe.DAY,
        session=opens_at.date(),
        starts_at=opens_at,
        ends_at=opens_at + timedelta(hours=6, minutes=30),
        open=close,
        high=close,
        low=close,
        close=close,
        volume=Decimal(1),
        source="test",
    )


class TradingWorld:
    """Portfolios on one account of the paper broker, on a clock of the test's own.

    The broker is a `ScriptedBroker`; without faults it is the real one. `intend` makes a trade as a decision
    would.
    """

    calendar = INDEPENDENCE_WEEK
    quote_age_max = timedelta(minutes=15)

    def __init__(
        self,
        engine: sa.Engine,
        *names: str,
        cash: Decimal = CASH,
        limits: RiskLimits = LIMITS,
        settings: PaperSettings | None = None,
    ) -> None:
        self.engine = engine
        self.begin = partial(transaction, engine)
        self.now = START
        self.lease_s = 45
        self.account_number = f"PAPER-{uuid4().hex}"
        self.paper = PaperBroker(
            engine,
            account_number=self.account_number,
            calendar=self.calendar,
            clock=lambda: self.now,
            settings=settings,
        )
        self.broker = ScriptedBroker(self.paper)
        with self.begin() as connection:
            prices.ensure_instruments(connection, [AAPL, MSFT, IBM])
        self.ids = {name: self._open(name, cash, limits) for name in names or ("main",)}
        self.name = next(iter(self.ids))

    def _open(self, name: str, cash: Decimal, limits: RiskLimits) -> int:
        new = NewPortfolio(name=name, cash=cash, limits=limits, account_number=self.account_number)
        portfolio_id = open_portfolio(self.engine, new, at=self.now - timedelta(hours=1))
        self.count_as_compared(self.calendar.previous(self.now.date()).closes_at)
        return portfolio_id

    def count_as_compared(self, at: datetime) -> None:
        """Let the books have been compared with the broker's at that instant, and agree."""
        with self.begin() as connection:
            portfolios.set_reconciled(connection, self.account.id, at)

    # The market ────────────────────────────────────────────────────────────────────────────────────────

    def set_price(self, symbol: str, price: str | Decimal) -> None:
        """Move the market and our quote a moment later."""
        self.advance(timedelta(milliseconds=1))
        self.paper.give_prices([PriceTick(symbol, Decimal(price))], at=self.now)
        self.quote(symbol, price)

    def quote(self, symbol: str, price: str | Decimal, at: datetime | None = None) -> None:
        """Let us know a price that the broker's market does not have."""
        quote = Quote(symbol=symbol, price=Decimal(price), quoted_at=at or self.now, source="test")
        with self.begin() as connection:
            prices.save_quotes(connection, [quote], received_at=self.now)

    def advance(self, by: timedelta) -> None:
        self.now += by

    def close_market(self) -> Session:
        """Move past the grace after the session's close."""
        session = self.calendar.session_at(self.now)
        assert session is not None
        self.now = session.closes_at + timedelta(minutes=5)
        return session

    # The services ──────────────────────────────────────────────────────────────────────────────────────

    @property
    def account(self) -> Account:
        return next(a for a in self.accounts() if a.account_number == self.account_number)

    @property
    def tick(self) -> Tick:
        session = self.calendar.session_at(self.now)
        assert session is not None
        return Tick(self.now, session, f"run-{uuid4().hex}")

    def submission(self) -> Submission:
        return Submission(
            self.begin, self.broker, self.account, self.entry_check, lambda: self.now, lease_s=self.lease_s
        )

    @property
    def entry_check(self) -> EntryCheck:
        return EntryCheck(self.calendar, self.quote_age_max)

    def trading(self) -> TradingService:
        return TradingService(self.begin, self.broker, self.account, self.calendar, lambda: self.now)

    def send(self, lease_s: int | None = None) -> Report:
        self.lease_s = self.lease_s if lease_s is None else lease_s
        return self.submission().send_pending()

    def check(self, lease_s: int | None = None) -> Report:
        self.lease_s = self.lease_s if lease_s is None else lease_s
        return check_orders([(self.submission(), self.trading())])

    def sync(self) -> Report:
        return sync_positions(self.tick, [self.trading()])

    def execute(self, tick: Tick | None = None) -> Report:
        """Run the strategies at a tick, by default now; books count as compared with the broker's."""
        self.count_as_compared(self.now)
        execution = StrategyExecution(
            begin=self.begin,
            accounts={account.id: account for account in self.accounts()},
            submission_of=lambda _: self.submission(),
            entries=self.entry_check,
        )
        return execution.run(tick or self.tick)

    def accounts(self) -> list[Account]:
        with self.begin() as connection:
            return portfolios.read_accounts(connection)

    def add_strategy(
        self,
        name: str = "trend",
        *,
        universe: Sequence[str] = (AAPL,),
        portfolio: str | None = None,
        shares: int = 10,
        factor: str = "momentum",
    ) -> int:
        """A strategy that buys what closed higher on its last daily bar, and sells what closed lower."""
        definition = {
            "name": name,
            "universe": list(universe),
            "factors": [{"name": factor, "parameters": {"lookback": 1, "saturation": 0.0}}],
            "buy_threshold": 0.5,
            "sell_threshold": -0.5,
            "sizing": {"shares": shares},
        }
        with self.begin() as connection:
            return portfolios.add_strategy(
                connection, self.ids[portfolio or self.name], parse_definition(definition)
            )

    def trend(self, symbol: str, *closes: int) -> None:
        """Daily bars that ended before the first session of the calendar, the last on 2024-06-28."""
        days = [datetime(2024, 6, 28, 13, 30, tzinfo=UTC) - timedelta(days=n) for n in range(len(closes))]
        with self.begin() as connection:
            bars = zip(reversed(days), closes, strict=True)
            prices.save_bars(connection, [daily_bar(symbol, at, Decimal(close)) for at, close in bars])

    def halt(self, level: HaltLevel = HaltLevel.NO_NEW, portfolio: str | None = None) -> None:
        with self.begin() as connection:
            portfolios.add_halt(
                connection,
                portfolio_id=self.ids[portfolio or self.name],
                level=level,
                reason="the test says so",
                actor="test",
                at=self.now,
            )

    # Our books ─────────────────────────────────────────────────────────────────────────────────────────

    def intend(
        self,
        side: Side = Side.BUY,
        quantity: str | int = 10,
        *,
        symbol: str = AAPL,
        limit: str | None = None,
        portfolio: str | None = None,
        is_risk_exit: bool = False,
        reserved: str | int = 50_000,
    ) -> int:
        """A pending trade, as a strategy's decision leaves it; answers its id."""
        self.advance(timedelta(milliseconds=1))
        portfolio_id = self.ids[portfolio or self.name]
        terms = OrderTerms(
            symbol=symbol,
            side=side,
            quantity=Decimal(quantity),
            order_type=OrderType.LIMIT if limit else OrderType.MARKET,
            limit_price=Decimal(limit) if limit else None,
        )
        with self.begin() as connection:
            strategy_id = None if is_risk_exit else self._strategy(connection, portfolio_id)
            decision_id = trades.add_decision(connection, self._decision(portfolio_id, strategy_id))
            assert decision_id is not None
            trades.add_trades(
                connection,
                portfolio_id=portfolio_id,
                broker_account_id=self.account.id,
                decision_id=decision_id,
                trades=[self._new_trade(portfolio_id, strategy_id, terms, Decimal(reserved))],
                decided_at=self.now,
            )
        return int(self.rows("SELECT max(id) FROM trades")[0]["max"])

    def _strategy(self, connection: sa.Connection, portfolio_id: int) -> int:
        statement = sa.text(
            "INSERT INTO strategies (portfolio_id, name, definition, is_enabled) "
            "VALUES (:id, 'by-hand', '{}', false) "
            "ON CONFLICT (portfolio_id, name) DO UPDATE SET name = 'by-hand' RETURNING id"
        )
        return int(connection.execute(statement, {"id": portfolio_id}).scalar_one())

    def _decision(self, portfolio_id: int, strategy_id: int | None) -> Decision:
        return Decision(
            portfolio_id=portfolio_id,
            strategy_id=strategy_id,
            tick=self.now,
            session=self.now.date(),
            equity=CASH,
            cash=CASH,
            signals=[],
        )

    def _new_trade(
        self, portfolio_id: int, strategy_id: int | None, terms: OrderTerms, reserved: Decimal
    ) -> NewTrade:
        name = client_order_id(
            prefix="tp",
            account=self.account_number,
            portfolio_id=portfolio_id,
            strategy_id=strategy_id or 0,
            tick=self.now,
            number=0,
        )
        reserved = reserved if terms.side is Side.BUY else Decimal(0)
        return NewTrade(
            terms=terms,
            client_order_id=name,
            reserved_cash=reserved,
            reason="test",
            is_entry=terms.side is Side.BUY and strategy_id is not None,
        )

    def rows(self, statement: str, **parameters: Any) -> Sequence[sa.RowMapping]:
        with self.begin() as connection:
            return connection.execute(sa.text(statement), parameters).mappings().all()

    def trade(self, trade_id: int) -> sa.RowMapping:
        return self.rows("SELECT * FROM trades WHERE id = :id", id=trade_id)[0]

    def status(self, trade_id: int) -> tuple[str, Any]:
        row = self.trade(trade_id)
        return row["status"], row["filled_quantity"]

    def held(self) -> dict[tuple[str, str], Any]:
        """Our positions by portfolio and symbol."""
        rows = self.rows(
            "SELECT p.name, x.symbol, x.quantity FROM positions x JOIN portfolios p ON p.id = x.portfolio_id "
            "WHERE x.quantity <> 0 AND p.broker_account_id = :id",
            id=self.account.id,
        )
        return {(row["name"], row["symbol"]): row["quantity"] for row in rows}

    def cash(self, portfolio: str | None = None) -> Decimal:
        (row,) = self.rows(
            "SELECT amount FROM cash_balances WHERE portfolio_id = :id", id=self.ids[portfolio or self.name]
        )
        return Decimal(row["amount"])

    def halts(self) -> list[str]:
        rows = self.rows("SELECT reason FROM halts WHERE resumed_at IS NULL ORDER BY id")
        return [row["reason"] for row in rows]

    def titles(self) -> list[str]:
        return [row["title"] for row in self.rows("SELECT title FROM notifications ORDER BY id")]

    def state(self) -> str:
        """Everything that the services write, for telling whether a call changed anything."""
        statements = (
            "SELECT id, status, filled_quantity, attempts, broker_order_id, status_reason FROM trades",
            "SELECT * FROM fills",
            "SELECT portfolio_id, symbol, quantity, average_cost, realised_pnl FROM positions",
            "SELECT portfolio_id, amount FROM cash_balances",
            "SELECT * FROM adjustments",
            "SELECT * FROM discrepancies",
            "SELECT * FROM halts",
            "SELECT dedupe_key FROM notifications",
        )
        found = [sorted(map(str, map(dict, self.rows(statement)))) for statement in statements]
        return json.dumps(found, indent=1)

    def assert_books_are_right(self) -> None:
        assert check_books(self.begin) == []

    def assert_books_agree(self) -> None:
        """Our sums over the account's portfolios are the broker's, to the last digit."""
        self.assert_books_are_right()
        ours: dict[str, Decimal] = {}
        for (_, symbol), quantity in self.held().items():
            ours[symbol] = ours.get(symbol, Decimal(0)) + quantity
        theirs = {position.symbol: position.quantity for position in self.paper.get_positions()}
        assert {s: q for s, q in ours.items() if q} == theirs
        assert sum(self.cash(name) for name in self.ids) == self.paper.get_account().cash
