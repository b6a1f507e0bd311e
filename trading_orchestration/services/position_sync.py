"""`position_sync`: our books against the broker's, summed over the portfolios of an account."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import BrokerPosition
from trading_orchestration.domain.money import rounded
from trading_orchestration.domain.reconciliation import (
    Discrepancy,
    allocate,
    compare_cash,
    compare_positions,
)
from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import TradingService
from trading_orchestration.store import ledger, portfolios, prices
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.portfolios import HaltLevel

#: Books that moved this recently may not be the same on both sides yet.
SETTLING = timedelta(seconds=5)
#: Brokers round cash to cents; so does what is compared.
CASH_TOLERANCE = Decimal("0.01")
#: A difference worth more than this share of what the account is worth is not repaired unseen.
REPAIR_SHARE_MAX = Decimal("0.05")


def sync_positions(tick: Tick, accounts: Sequence[TradingService]) -> Report:
    """Compare and repair every account; one that fails does not stop the others.

    Counts `portfolios`, what was `compared` (symbols and cash), `discrepancies`, and those `repaired`.
    """
    report = Report()
    for trading in accounts:
        try:
            report.add(_AccountSync(tick, trading).run())
        except BrokerUnavailableError as error:
            report.fail(f"account {trading.account.account_number}", error)
    return report


@dataclass(frozen=True, slots=True)
class _Books:
    """Our side of an account: quantities and cash, by portfolio."""

    holders: dict[str, dict[int, Decimal]]
    cash: dict[int, Decimal]
    skipped: set[str]


@dataclass(frozen=True, slots=True)
class _AccountSync:
    tick: Tick
    trading: TradingService

    def run(self) -> Counter[str]:
        with self.trading.begin() as connection:
            before = self._books(connection)
        brokers = self.trading.get_broker_positions()
        broker_cash = self.trading.broker.get_account().cash
        with self.trading.begin() as connection:
            for portfolio_id in before.cash:
                portfolios.hold_portfolio(connection, portfolio_id)
            books = self._books(connection)
            if books != before:
                return Counter(portfolios=len(books.cash))  # moved while we asked: the next tick compares
            found = self._discrepancies(books, brokers, broker_cash)
            repaired = self._resolve(connection, books, brokers, found) if found else 0
            portfolios.set_reconciled(connection, self.trading.account.id, self.tick.at)
        compared = len(set(books.holders) | {p.symbol for p in brokers} - books.skipped) + 1
        return Counter(
            portfolios=len(books.cash), compared=compared, discrepancies=len(found), repaired=repaired
        )

    def _books(self, connection: Connection) -> _Books:
        account_id = self.trading.account.id
        holders: dict[str, dict[int, Decimal]] = defaultdict(dict)
        skipped = ledger.symbols_in_flight(connection, account_id)
        for row in ledger.account_holdings(connection, account_id):
            holders[row["symbol"]][row["portfolio_id"]] = row["quantity"]
            if _is_settling(row["last_entry_at"], self.trading.clock()):
                skipped.add(row["symbol"])
        return _Books(dict(holders), ledger.account_cash(connection, account_id), skipped)

    def _discrepancies(
        self, books: _Books, brokers: Sequence[BrokerPosition], broker_cash: Decimal
    ) -> list[Discrepancy]:
        ours = {symbol: sum(by.values(), Decimal(0)) for symbol, by in books.holders.items()}
        theirs = {position.symbol: position.quantity for position in brokers}
        found = compare_positions(ours, theirs, skip=books.skipped)
        if not books.skipped:
            cash = compare_cash(sum(books.cash.values(), Decimal(0)), broker_cash, CASH_TOLERANCE)
            found += [cash] if cash else []
        return found

    def _resolve(
        self,
        connection: Connection,
        books: _Books,
        brokers: Sequence[BrokerPosition],
        found: Sequence[Discrepancy],
    ) -> int:
        cost = {position.symbol: rounded(position.average_entry_price) for position in brokers}
        symbols = {d.symbol for d in found if d.symbol}
        unit = _unit_values(connection, symbols | set(books.holders), cost)
        worth = sum(books.cash.values(), Decimal(0)) + sum(
            (q * unit[symbol] for symbol, by in books.holders.items() for q in by.values()), Decimal(0)
        )
        prices.ensure_instruments(connection, symbols)
        repaired = 0
        for discrepancy in found:
            value = abs(discrepancy.difference) * (unit[discrepancy.symbol] if discrepancy.symbol else 1)
            is_small = value <= REPAIR_SHARE_MAX * max(worth, Decimal(0))
            self._book(connection, books, discrepancy, cost, is_small=is_small)
            repaired += int(is_small)
        return repaired

    def _book(
        self,
        connection: Connection,
        books: _Books,
        discrepancy: Discrepancy,
        cost: dict[str, Decimal],
        *,
        is_small: bool,
    ) -> None:
        discrepancy_id = ledger.add_discrepancy(
            connection,
            self.trading.account.id,
            discrepancy,
            resolution="adjusted" if is_small else "halted",
            run_id=self.tick.run_id,
            at=self.tick.at,
        )
        self._notify(connection, discrepancy, discrepancy_id, is_small=is_small)
        if not is_small:
            self._halt(connection, books, discrepancy)
            return
        is_cash = discrepancy.symbol is None
        holders = books.cash if is_cash else books.holders.get(discrepancy.symbol or "", {})
        shares = allocate(discrepancy, {i: holders.get(i, Decimal(0)) for i in books.cash})
        ledger.add_adjustments(
            connection,
            discrepancy_id,
            discrepancy,
            {portfolio_id: share for portfolio_id, share in shares.items() if share},
            unit_cost=None if is_cash else cost.get(discrepancy.symbol or ""),
            note=_sentence(discrepancy),
            actor="position_sync",
            at=self.tick.at,
        )

    def _halt(self, connection: Connection, books: _Books, discrepancy: Discrepancy) -> None:
        for portfolio_id in books.cash:
            portfolios.add_halt(
                connection,
                portfolio_id=portfolio_id,
                level=HaltLevel.NO_NEW,
                reason=f"{_sentence(discrepancy)} That is too much to repair unseen.",
                actor="position_sync",
                at=self.tick.at,
            )

    def _notify(
        self, connection: Connection, discrepancy: Discrepancy, discrepancy_id: int, *, is_small: bool
    ) -> None:
        message = Notification(
            severity=Severity.WARNING if is_small else Severity.CRITICAL,
            kind="discrepancy",
            title=_sentence(discrepancy),
            body="Our books were adjusted."
            if is_small
            else "Trading was halted; our books were not touched.",
            dedupe_key=f"discrepancy:{discrepancy_id}",
        )
        add_notifications(connection, [message], at=self.tick.at)


def _unit_values(connection: Connection, symbols: set[str], cost: dict[str, Decimal]) -> dict[str, Decimal]:
    """What one unit of each symbol is worth: its quote, or else what the broker paid for it."""
    quotes = prices.read_quotes(connection, symbols)
    return {s: quotes[s].price if s in quotes else cost.get(s, Decimal(0)) for s in symbols}


def _is_settling(last_entry_at: datetime, now: datetime) -> bool:
    return timedelta(0) <= now - last_entry_at < SETTLING


def _sentence(discrepancy: Discrepancy) -> str:
    subject = discrepancy.symbol or "cash"
    return (
        f"The broker has {discrepancy.brokers.normalize():f} {subject}, "
        f"our books {discrepancy.ours.normalize():f}."
    )
