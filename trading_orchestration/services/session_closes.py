"""The price of every holding at sessions' closes, and how old it is where an older one may stand for it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.store import prices
from trading_orchestration.store.database import Connection

#: A symbol in a session.
Wanted = tuple[str, date]


@dataclass(frozen=True, slots=True)
class SessionClose:
    """What a symbol is valued at: a close, of which session, and how many sessions before the one wanted."""

    price: Decimal
    of: date
    age: int = 0


@dataclass(frozen=True, slots=True)
class Closes:
    """Closes by symbol and session; `before` has the last one before a session that has none."""

    found: Mapping[Wanted, SessionClose]
    missing: Collection[Wanted]
    before: Mapping[Wanted, tuple[Decimal, date]] = field(default_factory=dict)

    def sentence(self, symbol: str, sessions: Sequence[date], why: Sequence[str]) -> str:
        """Why a holding of some sessions (oldest first) cannot be valued: one sentence for a person."""
        more = f" and {_counted(len(sessions) - 1)} more to {sessions[-1]}" if len(sessions) > 1 else ""
        _, last = self.before.get((symbol, sessions[0]), (None, None))
        told = f"; its last one is of {last}" if last else ""
        reasons = f" ({'; '.join(why)})" if why else ""
        return f"{symbol} has no close in {sessions[0]}{more}{told}{reasons}."


def official_closes(connection: Connection, wanted: Collection[Wanted]) -> Closes:
    """The official closes, from daily bars alone."""
    if not wanted:
        return Closes({}, ())
    symbols, sessions = {symbol for symbol, _ in wanted}, [session for _, session in wanted]
    rows = prices.closes_between(connection, symbols, min(sessions), max(sessions))
    found = {
        (symbol, session): SessionClose(price, session)
        for (symbol, session), price in rows.items()
        if (symbol, session) in wanted
    }
    return Closes(found, sorted(set(wanted) - found.keys()))


def with_substitutes(
    connection: Connection, closes: Closes, calendar: MarketCalendar, *, carry_sessions: int
) -> Closes:
    """The same with what stands for a close that nobody has.

    That is the close of the session's last minute bar; else, where the setting allows, the last close of at
    most `carry_sessions` sessions before.
    """
    if not closes.missing:
        return closes
    minutes = prices.last_minute_closes(connection, closes.missing)
    found = dict(closes.found) | {key: SessionClose(price, key[1]) for key, price in minutes.items()}
    missing = [key for key in closes.missing if key not in minutes]
    before = prices.closes_before(connection, missing)
    for key in missing:
        price, of = before.get(key, (None, None))
        if price is None or of is None:
            continue
        age = len(calendar.sessions_between(of, key[1])) - 1
        if 0 < age <= carry_sessions:
            found[key] = SessionClose(price, of, age)
    return Closes(found, [key for key in missing if key not in found], before)


def _counted(sessions: int) -> str:
    return f"{sessions:,} {'session' if sessions == 1 else 'sessions'}"
