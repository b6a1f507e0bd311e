"""`position_sync`: our books against the broker's, summed over the portfolios of an account."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.brokers.broker import BrokerPosition
from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.money import ZERO, plain, product, rounded
from trading_orchestration.domain.reconciliation import (
    AdjustmentCause,
    Discrepancy,
    compare_cash,
    compare_positions,
)
from trading_orchestration.services.account_identity import confirmed_account
from trading_orchestration.services.awaited_actions import unexplained
from trading_orchestration.services.discrepancy_causes import Evidence, Holding, repairs, total, with_cause
from trading_orchestration.services.market_hours_check import comparison_due, differing_hours
from trading_orchestration.services.missed_executions import book_missed_executions
from trading_orchestration.services.self_halt import halt
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import TradingService
from trading_orchestration.store import discrepancies, ledger, portfolios, prices
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Connection
from trading_orchestration.store.portfolios import HaltLevel

#: Books that moved this recently may not be the same on both sides yet.
SETTLING = timedelta(seconds=5)
#: Brokers round cash to cents; so does what is compared.
CASH_TOLERANCE = Decimal("0.01")
#: Differences worth more than this share of what the account is worth are not repaired unseen.
REPAIR_SHARE_MAX = Decimal("0.05")


def sync_positions(tick: Tick, accounts: Sequence[TradingService]) -> Report:
    """Compare and repair every account; one that fails does not stop the others.

    Counts `portfolios`, what was `compared` (symbols and cash), `discrepancies`, and those `repaired`. Raises
    BrokerNotAuthorizedError once all were compared, for a person must mend it.
    """
    report = Report()
    for trading in accounts:
        with report.part(f"account {trading.account.account_number}"):
            report.add(_AccountSync(tick, trading).run())
    report.raise_if_a_person_is_needed()
    return report


@dataclass(frozen=True, slots=True)
class _Books:
    """Our side of an account: what each portfolio holds of each symbol, and its cash."""

    holders: Mapping[str, Mapping[int, Holding]]
    cash: Mapping[int, Decimal]
    skipped: frozenset[str]

    def holdings(self, symbol: str | None) -> dict[int, Holding]:
        """What every portfolio of the account holds of a symbol, or its cash."""
        if symbol is None:
            return {portfolio_id: (amount, ZERO) for portfolio_id, amount in self.cash.items()}
        held = self.holders.get(symbol, {})
        return {portfolio_id: held.get(portfolio_id, (ZERO, ZERO)) for portfolio_id in self.cash}

    def quantity(self, symbol: str) -> Decimal:
        return sum((quantity for quantity, _ in self.holders.get(symbol, {}).values()), ZERO)


@dataclass(frozen=True, slots=True)
class _BrokersSide:
    positions: Mapping[str, BrokerPosition]
    cash: Decimal


@dataclass(frozen=True, slots=True)
class _AccountSync:
    tick: Tick
    trading: TradingService

    def run(self) -> Counter[str]:
        """Compare; where the sides differ, look for missed executions, compare again, and repair."""
        self._compare_hours()
        before, theirs = self._both_sides()
        found, repaired = self._discrepancies(before, theirs), 0
        if found:
            evidence = book_missed_executions(self.trading)
            before, theirs = self._both_sides()
            settled = self._repair(before, theirs, evidence)
            if settled is None:
                return Counter(portfolios=len(before.cash))  # moved while we asked: the next tick compares
            found, repaired = settled
        with self.trading.begin() as connection:
            portfolios.set_reconciled(connection, self.trading.account.id, self.trading.clock())
            self.trading.tell_of_unfamiliar(connection)
        compared = (before.holders.keys() | theirs.positions.keys()) - before.skipped
        return Counter(
            portfolios=len(before.cash),
            compared=len(compared) + 1,
            discrepancies=len(found),
            repaired=repaired,
        )

    def _compare_hours(self) -> None:
        """Before anything else: a broker that keeps other hours than we do is not traded with.

        What a person has resumed trading over is not held against it again.
        """
        trading, session = self.trading, self.tick.session
        if not comparison_due(session, trading.clock(), trading.account.reconciled_at):
            return
        found = differing_hours(trading.broker, session, trading.calendar, trading.clock)
        if not found:
            return
        at, account_id = trading.clock(), trading.account.id
        later = [
            Notification(
                severity=Severity.WARNING,
                kind="market_hours",
                title="The broker will keep other hours than we do",
                body=difference.sentence,
                dedupe_key=f"market_hours:{account_id}:{difference.sentence}",
            )
            for difference in found
            if not difference.is_at_hand
        ]
        with trading.begin() as connection:
            for portfolio_id in ledger.account_cash(connection, account_id):
                for reason in (difference.sentence for difference in found if difference.is_at_hand):
                    if not portfolios.was_resumed(connection, portfolio_id, reason):
                        halt(connection, portfolio_id, reason=reason, actor="market hours", at=at)
            add_notifications(connection, later, at=at)

    def _both_sides(self) -> tuple["_Books", "_BrokersSide"]:
        """Ours first: what moves while the broker is asked is seen by reading ours again."""
        with self.trading.begin() as connection:
            ours = self._books(connection)
        return ours, self._brokers_side()

    def _discrepancies(self, books: "_Books", theirs: "_BrokersSide") -> list[Discrepancy]:
        found = _discrepancies(books, theirs)
        if not found:
            return found
        with self.trading.begin() as connection:
            return self._unexplained(connection, found)

    def _unexplained(self, connection: Connection, found: list[Discrepancy]) -> list[Discrepancy]:
        account, now = self.trading.account, self.trading.clock()
        return unexplained(connection, account.id, found, cash_tolerance=CASH_TOLERANCE, now=now)

    def _repair(
        self, before: "_Books", theirs: "_BrokersSide", evidence: Evidence
    ) -> tuple[list[Discrepancy], int] | None:
        """The discrepancies and how many were repaired; None where our books moved meanwhile."""
        with self.trading.begin() as connection:
            # Apart: whoever imports bars has new symbols first and portfolios then.
            prices.ensure_instruments(connection, theirs.positions)
        with self.trading.begin() as connection:
            portfolios.hold_portfolios_of(connection, self.trading.account.id)
            books = self._books(connection)
            if books != before:
                return None
            found = self._unexplained(connection, _discrepancies(books, theirs))
            repaired = _Resolution.of(connection, self, books, theirs, found, evidence).resolve()
            crashpoint("before_sync_commit")
        return found, repaired

    def _books(self, connection: Connection) -> _Books:
        account_id = self.trading.account.id
        holders: dict[str, dict[int, Holding]] = defaultdict(dict)
        skipped = ledger.symbols_in_flight(connection, account_id)
        for row in ledger.account_holdings(connection, account_id):
            holders[row["symbol"]][row["portfolio_id"]] = row["quantity"], row["average_cost"]
            if _is_settling(row["last_entry_at"], self.trading.clock()):
                skipped.add(row["symbol"])
        return _Books(dict(holders), ledger.account_cash(connection, account_id), frozenset(skipped))

    def _brokers_side(self) -> _BrokersSide:
        positions = self.trading.get_broker_positions()
        account = confirmed_account(self.trading.broker, self.trading.account)
        return _BrokersSide({position.symbol: position for position in positions}, account.cash)


def _discrepancies(books: _Books, theirs: _BrokersSide) -> list[Discrepancy]:
    ours = {symbol: books.quantity(symbol) for symbol in books.holders}
    quantities = {symbol: position.quantity for symbol, position in theirs.positions.items()}
    found = compare_positions(ours, quantities, skip=books.skipped)
    if not books.skipped:
        cash = compare_cash(sum(books.cash.values(), ZERO), theirs.cash, CASH_TOLERANCE)
        found += [cash] if cash else []
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Resolution:
    """What becomes of the discrepancies of an account; `unit` is what one of each symbol is worth."""

    connection: Connection
    sync: _AccountSync
    books: _Books
    theirs: _BrokersSide
    found: Sequence[Discrepancy]
    unit: Mapping[str, Decimal]

    @classmethod
    def of(
        cls,
        connection: Connection,
        sync: _AccountSync,
        books: _Books,
        theirs: _BrokersSide,
        found: Sequence[Discrepancy],
        evidence: Evidence,
    ) -> "_Resolution":
        with_causes = [
            with_cause(
                discrepancy,
                books.holdings(discrepancy.symbol),
                theirs.positions.get(discrepancy.symbol or ""),
                evidence,
                cash_tolerance=CASH_TOLERANCE,
            )
            for discrepancy in found
        ]
        return cls(
            connection=connection,
            sync=sync,
            books=books,
            theirs=theirs,
            found=with_causes,
            unit=_unit_values(connection, books, theirs) if found else {},
        )

    def resolve(self) -> int:
        """Repair what may be, halt for the rest; answers how many were repaired."""
        if not self.found:
            return 0
        known = discrepancies.last_discrepancies(self.connection, self.sync.trading.account.id)
        is_resumed = self._is_resumed()
        repaired = 0
        for discrepancy in self.found:
            last = known.get(discrepancy.symbol)
            was_told = last is not None and _is_same(discrepancy, last["difference"], last["resolution"])
            if self._is_small(discrepancy) or (was_told and is_resumed):
                self._repair(discrepancy, was_told=was_told)
                repaired += 1
            elif not was_told:
                self._halt(discrepancy)
        return repaired

    def _is_small(self, discrepancy: Discrepancy) -> bool:
        """Whether it may be repaired unseen: a split, or little with all others of its kind together."""
        if discrepancy.cause is AdjustmentCause.SPLIT:
            return True
        is_cash = discrepancy.symbol is None
        value = total(
            [
                self._value(other)
                for other in self.found
                if (other.symbol is None) is is_cash and other.cause is not AdjustmentCause.SPLIT
            ]
        )
        return value is not None and value <= REPAIR_SHARE_MAX * max(self._worth(), ZERO)

    def _value(self, discrepancy: Discrepancy) -> Decimal | None:
        if discrepancy.symbol is None:
            return discrepancy.difference
        unit = self.unit.get(discrepancy.symbol)
        return None if unit is None else product(discrepancy.difference, unit)

    def _worth(self) -> Decimal:
        held = (product(self.books.quantity(s), self.unit.get(s, ZERO)) for s in self.books.holders)
        return sum(self.books.cash.values(), ZERO) + sum(held, ZERO)

    def _is_resumed(self) -> bool:
        """Whether no halt binds the account's portfolios: a person has resumed what was halted."""
        halts = portfolios.read_halts(self.connection)
        return all(portfolios.halt_of(halts, portfolio_id) is None for portfolio_id in self.books.cash)

    def _repair(self, discrepancy: Discrepancy, *, was_told: bool) -> None:
        symbol = discrepancy.symbol
        discrepancy_id = self._keep(discrepancy, resolution="adjusted")
        ledger.add_adjustments(
            self.connection,
            discrepancy_id,
            discrepancy,
            repairs(discrepancy, self.books.holdings(symbol), self._unit_cost(symbol)),
            note=_sentence(discrepancy) + (" Trading was resumed after it was told of." if was_told else ""),
            actor="position_sync",
            at=self.sync.trading.clock(),
        )
        body = f"Our books were adjusted. {_because(discrepancy)}"
        self._tell(discrepancy, discrepancy_id, Severity.WARNING, body)

    def _unit_cost(self, symbol: str | None) -> Decimal | None:
        """What an added unit cost: what the broker says, or else what one is worth."""
        if symbol is None:
            return None
        theirs = self.theirs.positions.get(symbol)
        return rounded(theirs.average_entry_price) if theirs else self.unit.get(symbol, ZERO)

    def _halt(self, discrepancy: Discrepancy) -> None:
        discrepancy_id = self._keep(discrepancy, resolution="halted")
        for portfolio_id in self.books.cash:
            portfolios.add_halt(
                self.connection,
                portfolio_id=portfolio_id,
                level=HaltLevel.NO_NEW,
                reason=f"{_sentence(discrepancy)} That is too much to repair unseen.",
                actor="position_sync",
                at=self.sync.trading.clock(),
            )
        body = (
            "Trading was halted; our books were not touched. They are adjusted once trading is resumed. "
            f"{_because(discrepancy)}"
        )
        self._tell(discrepancy, discrepancy_id, Severity.CRITICAL, body)

    def _keep(self, discrepancy: Discrepancy, *, resolution: str) -> int:
        return discrepancies.add_discrepancy(
            self.connection,
            self.sync.trading.account.id,
            discrepancy,
            resolution=resolution,
            run_id=self.sync.tick.run_id,
            at=self.sync.trading.clock(),
        )

    def _tell(self, discrepancy: Discrepancy, discrepancy_id: int, severity: Severity, body: str) -> None:
        message = Notification(
            severity=severity,
            kind="discrepancy",
            title=_sentence(discrepancy),
            body=body,
            dedupe_key=f"discrepancy:{discrepancy_id}",
        )
        add_notifications(self.connection, [message], at=self.sync.trading.clock())


def _unit_values(connection: Connection, books: _Books, theirs: _BrokersSide) -> dict[str, Decimal]:
    """What one unit of each symbol is worth: its quote, or what the broker paid, or what we did."""
    units: dict[str, Decimal] = {}
    for symbol, held in books.holders.items():
        costs = [cost for _, cost in held.values() if cost]
        units |= {symbol: max(costs)} if costs else {}
    units |= {symbol: rounded(position.average_entry_price) for symbol, position in theirs.positions.items()}
    quotes = prices.read_quotes(connection, books.holders.keys() | theirs.positions.keys())
    return units | {symbol: quote.price for symbol, quote in quotes.items()}


def _is_same(discrepancy: Discrepancy, difference: Decimal, resolution: str) -> bool:
    """Whether it is the one that trading was halted for the last time."""
    tolerance = CASH_TOLERANCE if discrepancy.symbol is None else ZERO
    return resolution == "halted" and abs(discrepancy.difference - difference) <= tolerance


def _is_settling(last_entry_at: datetime, now: datetime) -> bool:
    return now - last_entry_at < SETTLING


def _because(discrepancy: Discrepancy) -> str:
    if discrepancy.cause is AdjustmentCause.UNKNOWN:
        return "Nothing that the broker lists explains it."
    shown = ", ".join(discrepancy.evidence[:3])
    return f"The cause: {discrepancy.cause.replace('_', ' ')}{f' ({shown})' if shown else ''}."


def _sentence(discrepancy: Discrepancy) -> str:
    subject = discrepancy.symbol or "cash"
    return f"The broker has {plain(discrepancy.brokers)} {subject}, our books {plain(discrepancy.ours)}."
