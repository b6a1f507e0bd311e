"""Whether the books hold together: every invariant of the ledger, on the rows that are there.

The ledger (fills, cash movements, adjustments) is folded anew and compared with everything that was derived
from it: cached positions and cash, what trades say was filled, snapshots, repairs.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import accumulate

from trading_orchestration.domain.money import ZERO, plain
from trading_orchestration.domain.position import Adjustment, Position, apply_adjustment, apply_fill
from trading_orchestration.domain.trade import Fill
from trading_orchestration.errors import LedgerError
from trading_orchestration.store.books import Books, read_books
from trading_orchestration.store.jobs import Begin

Held = Mapping[str, tuple[Decimal, Decimal]]  # symbol → quantity, average cost


def check_books(begin: Begin) -> list[str]:
    """One sentence for every invariant that does not hold; empty when the books are right.

    Cash is deposits, fills and adjustments; a position is the fold of its fills and adjustments; a trade's
    fills add up to what it says was filled; a snapshot is the ledger at its close; a repair is what its
    discrepancy asked for. Nobody can book while the rows are read.
    """
    with begin() as connection:
        books = read_books(connection)
    return list(_sentences(books))


def _sentences(books: Books) -> Iterator[str]:
    names = {portfolio.id: portfolio.name for portfolio in books.portfolios}
    steps, broken = _position_steps(books)
    yield from (f"{names[portfolio_id]}: {sentence}" for portfolio_id, sentence in broken)
    yield from _cash(books)
    yield from _positions(books, steps, names)
    yield from _trades(books)
    yield from _repairs(books)
    yield from _snapshots(books, steps, names)


_Steps = Mapping[tuple[int, str], Sequence[tuple[datetime, Position]]]


def _position_steps(books: Books) -> tuple[_Steps, list[tuple[int, str]]]:
    """What every position was after each of its entries, and the ledgers that cannot be folded."""
    steps: dict[tuple[int, str], list[tuple[datetime, Position]]] = {}
    broken: list[tuple[int, str]] = []
    for key, entries in books.entries.items():
        try:
            steps[key] = list(_folded(key[1], entries))
        except LedgerError as error:
            broken.append((key[0], f"the ledger of {key[1]} cannot be folded: {error}"))
    return steps, broken


def _folded(symbol: str, entries: Sequence[Fill | Adjustment]) -> Iterator[tuple[datetime, Position]]:
    position = Position(symbol)
    for entry in entries:
        if isinstance(entry, Fill):
            position = apply_fill(position, entry)
            yield entry.executed_at, position
        else:
            position = apply_adjustment(position, entry)
            yield entry.occurred_at, position


def _cash(books: Books) -> Iterator[str]:
    for portfolio in books.portfolios:
        folded = sum((amount for _, amount in books.cash_entries.get(portfolio.id, ())), ZERO)
        if portfolio.amount is None:
            yield f"{portfolio.name}: it has no cached cash, and the ledger says {plain(folded)}."
        elif portfolio.amount != folded:
            yield (
                f"{portfolio.name}: the cached cash is {plain(portfolio.amount)}, and the ledger says "
                f"{plain(folded)}."
            )


def _positions(books: Books, steps: _Steps, names: Mapping[int, str]) -> Iterator[str]:
    for key in sorted(books.positions.keys() | books.entries.keys()):
        if key in books.entries and key not in steps:
            continue  # told of already
        cached = books.positions.get(key, Position(key[1]))
        folded = steps[key][-1][1] if key in steps else Position(key[1])
        if cached != folded:
            yield (
                f"{names[key[0]]}: the cached position is {_shown(cached)}, and the ledger says "
                f"{_shown(folded)}."
            )


def _trades(books: Books) -> Iterator[str]:
    for row in books.trades_adrift:
        if row["strangers"]:
            yield f"Trade {row['id']} has {row['strangers']} fills of another portfolio, symbol or side."
        if row["filled_quantity"] != row["booked"]:
            yield (
                f"Trade {row['id']} says that {plain(row['filled_quantity'])} were filled, and its fills add "
                f"up to {plain(row['booked'])}."
            )
    for row in books.trades_misplaced:
        if row["is_misplaced"]:
            yield f"Trade {row['id']} is of another portfolio or account than its decision."
        else:
            yield (
                f"Trade {row['id']} is {row['status']} and still holds {plain(row['reserved_cash'])} of cash."
            )


def _repairs(books: Books) -> Iterator[str]:
    for row in books.discrepancies_unrepaired:
        yield (
            f"Discrepancy {row['id']} of {plain(row['difference'])} {row['symbol'] or 'cash'} was "
            f"{row['resolution']}, and its adjustments add up to {plain(row['moved'])}."
        )


def _snapshots(books: Books, steps: _Steps, names: Mapping[int, str]) -> Iterator[str]:
    held = _held_at_snapshots(books, steps)
    lines: dict[tuple[int, date], dict[str, tuple[Decimal, Decimal]]] = defaultdict(dict)
    for line in books.snapshot_lines:
        lines[line["portfolio_id"], line["session"]][line["symbol"]] = line["quantity"], line["average_cost"]
    cash = _cash_at_snapshots(books)
    for row in books.snapshots:
        key = row["portfolio_id"], row["session"]
        subject = f"{names[key[0]]}: the snapshot of {row['session']}"
        if (row["positions_value"], row["position_count"]) != (row["lines_value"], row["lines"]):
            yield (
                f"{subject} says {row['position_count']} positions worth {plain(row['positions_value'])}, "
                f"and its lines are {row['lines']} worth {plain(row['lines_value'])}."
            )
        if row["cash"] != cash[key]:
            yield f"{subject} says cash {plain(row['cash'])}, and the ledger said {plain(cash[key])} then."
        for symbol in _differing(lines.get(key, {}), held.get(key, {})):
            yield f"{subject} does not hold {symbol} as the ledger did then; take it again."


def _differing(first: Held, second: Held) -> list[str]:
    return sorted(
        symbol for symbol in first.keys() | second.keys() if first.get(symbol) != second.get(symbol)
    )


def _held_at_snapshots(
    books: Books, steps: _Steps
) -> dict[tuple[int, date], dict[str, tuple[Decimal, Decimal]]]:
    """What the ledger held at the instant of each snapshot; only what was not flat."""
    valued: dict[int, list[tuple[datetime, date]]] = defaultdict(list)
    for row in books.snapshots:
        valued[row["portfolio_id"]].append((row["valued_at"], row["session"]))
    held: dict[tuple[int, date], dict[str, tuple[Decimal, Decimal]]] = defaultdict(dict)
    for (portfolio_id, symbol), of_symbol in steps.items():
        taken = valued[portfolio_id]
        ends = [at for at, _ in of_symbol[1:]] + [None]
        for (at, position), until in zip(of_symbol, ends, strict=True):
            if position.is_flat:
                continue
            first = bisect_left(taken, at, key=lambda one: one[0])
            last = len(taken) if until is None else bisect_left(taken, until, key=lambda one: one[0])
            for _, session in taken[first:last]:
                held[portfolio_id, session][symbol] = position.quantity, position.average_cost
    return held


def _cash_at_snapshots(books: Books) -> dict[tuple[int, date], Decimal]:
    sums = {
        portfolio_id: ([at for at, _ in entries], list(accumulate(amount for _, amount in entries)))
        for portfolio_id, entries in books.cash_entries.items()
    }
    found = {}
    for row in books.snapshots:
        instants, totals = sums.get(row["portfolio_id"], ([], []))
        count = bisect_right(instants, row["valued_at"])
        found[row["portfolio_id"], row["session"]] = totals[count - 1] if count else ZERO
    return found


def _shown(position: Position) -> str:
    return (
        f"{plain(position.quantity)} {position.symbol} at {plain(position.average_cost)} "
        f"(realised {plain(position.realised_pnl)})"
    )
