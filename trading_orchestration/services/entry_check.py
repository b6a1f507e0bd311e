"""What an entry is measured by, twice: when it is decided and again before its order is sent."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.corporate_action import CorporateAction
from trading_orchestration.domain.entry_plan import reason_against_sending
from trading_orchestration.domain.market_time import MarketCalendar, Session
from trading_orchestration.domain.price import Quote
from trading_orchestration.domain.risk import Holdings
from trading_orchestration.domain.trade import OrderTerms, Side, Trade
from trading_orchestration.services.entry_obstacles import HOUR, Obstacle, obstacle, outside_collar
from trading_orchestration.services.self_halt import halt
from trading_orchestration.store import corporate_actions, ledger, portfolios, prices, snapshots, trades
from trading_orchestration.store.database import Connection
from trading_orchestration.store.portfolios import Account, Halt, Portfolio
from trading_orchestration.store.trades import OpenTrade


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A portfolio as its entries are measured: what it holds, prices that are not too old, its halt."""

    portfolio: Portfolio
    holdings: Holdings
    quotes: Mapping[str, Quote]
    splits: Mapping[str, Sequence[CorporateAction]]
    halted: Halt | None


@dataclass(frozen=True, slots=True)
class EntryCheck:
    """Measures portfolios and says why they take on nothing new. A quote counts for `quote_age_max`."""

    calendar: MarketCalendar
    quote_age_max: timedelta

    def measure(
        self, connection: Connection, portfolio: Portfolio, symbols: Collection[str], *, at: datetime
    ) -> Measured:
        """The portfolio at `at` (UTC, in a session), with the quotes of `symbols` and of what it holds."""
        held = {h.position.symbol: h.position for h in ledger.read_positions(connection, [portfolio.id])}
        quotes = prices.read_quotes(connection, held.keys() | set(symbols))
        fresh = {s: q for s, q in quotes.items() if at - q.quoted_at <= self.quote_age_max}
        opened = trades.open_trades_of_portfolio(connection, portfolio.id)
        holdings = Holdings(
            cash=ledger.account_cash(connection, portfolio.broker_account_id)[portfolio.id],
            reserved_cash=sum((t.reserved_cash for t in opened), Decimal(0)),
            positions=held,
            open_buys=_open(opened, Side.BUY),
            open_sells=_open(opened, Side.SELL),
            prices={symbol: quote.price for symbol, quote in fresh.items()},
            equity_at_open=trades.equity_at_open(connection, portfolio.id, since=self._session(at).opens_at),
        )
        halted = portfolios.halt_of(portfolios.read_halts(connection), portfolio.id)
        last_close = self.calendar.previous(self._session(at).date).closes_at
        splits = corporate_actions.splits_between(connection, fresh, last_close, at)
        return Measured(portfolio=portfolio, holdings=holdings, quotes=fresh, splits=splits, halted=halted)

    def why_nothing_new(
        self,
        connection: Connection,
        measured: Measured,
        account: Account,
        *,
        orders_last_hour: int,
        at: datetime,
    ) -> str | None:
        """Why nothing new is bought; the first time that a limit is found broken, the portfolio is halted."""
        portfolio, session = measured.portfolio, self._session(at)
        halted = measured.halted.reason if measured.halted else None
        stopped = None if halted else self._why_prices_stopped(connection, session, at)
        found = stopped or obstacle(
            halted=halted,
            reconciled_at=account.reconciled_at,
            reconciled_since=self.calendar.previous(session.date).closes_at,
            orders_last_hour=orders_last_hour,
            holdings=measured.holdings,
            limits=portfolio.limits,
            standing=snapshots.standing_before(connection, portfolio.id, session.date)
            if portfolio.limits.max_drawdown_pct is not None
            else None,
        )
        if found is None:
            return None
        if found.halts_as and not portfolios.was_halted(
            connection, portfolio.id, found.halts_as, since=session.opens_at
        ):
            halt(connection, portfolio.id, reason=found.reason, actor=found.halts_as, at=at)
        return found.reason

    def why_not_send(
        self, connection: Connection, trade: Trade, account: Account, *, at: datetime
    ) -> str | None:
        """Why an entry that was decided must not go out any more."""
        portfolio = portfolios.read_portfolio(connection, trade.portfolio_id)
        measured = self.measure(connection, portfolio, [trade.terms.symbol], at=at)
        sent = trades.count_sent(connection, portfolio.id, since=at - HOUR, except_id=trade.id)
        return (
            self.why_nothing_new(connection, measured, account, orders_last_hour=sent, at=at)
            or self._why_not_at_its_price(measured, trade.terms)
            or reason_against_sending(trade.terms, trade.reserved_cash, measured.holdings, portfolio.limits)
        )

    def _why_not_at_its_price(self, measured: Measured, terms: OrderTerms) -> str | None:
        if terms.symbol not in measured.quotes:
            return f"No price of {terms.symbol} is younger than {self.quote_age_max.total_seconds():.0f} s."
        refused = outside_collar([terms.symbol], measured.quotes, measured.splits)
        return refused.get(terms.symbol)

    def _why_prices_stopped(self, connection: Connection, session: Session, at: datetime) -> Obstacle | None:
        """One symbol may rest; when not one has a new price, it is the prices that are at fault."""
        newest = prices.newest_quote_at(connection)
        if at - session.opens_at <= self.quote_age_max or newest is None or at - newest <= self.quote_age_max:
            return None
        return Obstacle(
            f"Prices have stopped: the newest of all symbols is of {newest:%Y-%m-%d %H:%M} UTC; the limit is "
            f"{self.quote_age_max.total_seconds():.0f} s.",
            halts_as="stale prices",
        )

    def _session(self, at: datetime) -> Session:
        session = self.calendar.session_at(at)
        return session if session is not None else self.calendar.last_closed(at)


def _open(opened: Sequence[OpenTrade], side: Side) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for trade in opened:
        if trade.side is side:
            quantities[trade.symbol] += trade.quantity
    return dict(quantities)
