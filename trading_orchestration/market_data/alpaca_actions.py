"""Corporate actions of US stocks from Alpaca (`GET /v1/corporate-actions` of its market data interface)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import MarketDataNotAuthorizedError, MarketDataUnavailableError
from trading_orchestration.market_data import SourceSurroundings
from trading_orchestration.market_data.alpaca import DATA_URL
from trading_orchestration.market_data.source import AnnouncedActions
from trading_orchestration.vendor_http.alpaca import (
    KEY_VARIABLES,
    AlpacaKeys,
    alpaca_http,
    is_not_authorized,
    shared_limiter,
)
from trading_orchestration.vendor_http.answer import Answer, read_number, read_text
from trading_orchestration.vendor_http.client import DEFAULT_TIMEOUTS, Timeouts
from trading_orchestration.vendor_http.failures import HttpError, UnreadableAnswerError
from trading_orchestration.vendor_http.rate_limit import RateLimiter

PATH = "/v1/corporate-actions"
ROWS_PER_PAGE = 1_000
SYMBOLS_PER_REQUEST = 100
MOST_PAGES = 500
#: A dividend is paid within so many days of its ex-date.
PAID_WITHIN = timedelta(days=90)
_CURRENCY = "USD"


class AlpacaCorporateActions:
    """What Alpaca knows of splits, cash dividends, new names, cash mergers and worthless removals.

    Others (stock dividends, spin-offs, mergers for stock, …) are told of, for a person to enter.
    """

    name = "alpaca"

    def __init__(
        self,
        *,
        keys: AlpacaKeys,
        limiter: RateLimiter,
        now: Clock,
        base_url: str | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        self._http = alpaca_http(keys, base_url or DATA_URL, limiter=limiter, now=now, timeouts=timeouts)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def get_actions(self, symbols: Sequence[str], first: date, last: date) -> AnnouncedActions:
        """The actions that Alpaca processed between two dates (inclusive), and dividends whose ex-date is.

        Alpaca goes by the day on which it processes, which is that of a dividend's payment. One request per
        ≤ 100 symbols. Raises MarketDataUnavailableError and MarketDataNotAuthorizedError as
        `MarketDataSource` does.
        """
        found = AnnouncedActions([], [])
        for start in range(0, len(symbols), SYMBOLS_PER_REQUEST):
            params = {
                "symbols": ",".join(symbols[start : start + SYMBOLS_PER_REQUEST]),
                "start": first.isoformat(),
                "end": (last + PAID_WITHIN).isoformat(),
                "limit": str(ROWS_PER_PAGE),
                "sort": "asc",
            }
            with _reading():
                for kind, row in self._rows(params):
                    if not _is_after(row, last):
                        _read(kind, row, found)
        return found

    def _rows(self, params: dict[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for _ in range(MOST_PAGES):
            page = _successful(self._http.get(PATH, params)).row()
            for kind, rows in (page.get("corporate_actions") or {}).items():
                yield from ((kind, row) for row in rows or ())
            token = page.get("next_page_token")
            if not token:
                return
            params = params | {"page_token": str(token)}
        raise MarketDataUnavailableError("Alpaca's list of corporate actions does not end; it was not used.")


def _successful(answer: Answer) -> Answer:
    if answer.status == 200:
        return answer
    if is_not_authorized(answer):
        raise MarketDataNotAuthorizedError(
            f"Alpaca refused the keys or the plan ({answer.describe()}); check {KEY_VARIABLES}."
        )
    raise MarketDataUnavailableError(f"Alpaca did not answer as it should: {answer.describe()}.")


def _is_after(row: Mapping[str, Any], last: date) -> bool:
    """Whether an action counts from a later day; one whose days cannot be read is not, and is told of."""
    day = next((row[key] for key in ("ex_date", "effective_date", "process_date") if row.get(key)), None)
    try:
        return day is not None and date.fromisoformat(str(day)) > last
    except ValueError:
        return False


def _read(kind: str, row: Mapping[str, Any], into: AnnouncedActions) -> None:
    """One row as the actions it is, or as a sentence for a person."""
    if str(row.get("currency") or _CURRENCY) != _CURRENCY or row.get("foreign") is True:
        into.untold.append(f"{_subject(row)}: a {kind} in another currency or country was left out.")
        return
    match kind:
        case "forward_splits" | "reverse_splits":
            into.actions.extend(_split(row))
        case "cash_dividends" if not row.get("payable_date"):
            into.untold.append(
                f"{_subject(row)}: a dividend of {row.get('rate')} ({row.get('ex_date')}) was left out, for "
                "Alpaca does not say when it is paid."
            )
        case "cash_dividends":
            into.actions.append(
                NewAction(
                    kind=ActionKind.DIVIDEND,
                    symbol=read_text(row, "symbol"),
                    on=_day(row, "ex_date"),
                    pays_on=_day(row, "payable_date"),
                    cash_per_unit=_on_grid(read_number(row, "rate")),
                    is_special=row.get("special") is True,
                )
            )
        case "name_changes":
            into.actions.append(
                _renamed(
                    read_text(row, "old_symbol"), read_text(row, "new_symbol"), _day(row, "process_date")
                )
            )
        case "cash_mergers":
            symbol, rate = read_text(row, "acquiree_symbol"), _on_grid(read_number(row, "rate"))
            into.actions.append(_delisting(symbol, _day(row, "effective_date"), rate))
        case "worthless_removals":
            into.actions.append(_delisting(read_text(row, "symbol"), _day(row, "process_date"), Decimal(0)))
        case _:
            into.untold.append(f"{_subject(row)}: a {kind} of {row.get('process_date')} was left out.")


def _split(row: Mapping[str, Any]) -> Iterator[NewAction]:
    symbol, on = read_text(row, "symbol"), _day(row, "ex_date")
    ratio = _on_grid(read_number(row, "new_rate")), _on_grid(read_number(row, "old_rate"))
    yield NewAction(kind=ActionKind.SPLIT, symbol=symbol, on=on, ratio=ratio)
    if row.get("new_symbol"):
        yield _renamed(symbol, read_text(row, "new_symbol"), on)


def _renamed(symbol: str, new_symbol: str, on: date) -> NewAction:
    return NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol=symbol, on=on, new_symbol=new_symbol)


def _delisting(symbol: str, on: date, rate: Decimal) -> NewAction:
    return NewAction(kind=ActionKind.DELISTING, symbol=symbol, on=on, cash_per_unit=rate)


def _on_grid(number: Decimal) -> Decimal:
    """Vendors write rates as floats; what lies beyond nine places is their noise."""
    return number.quantize(Decimal("1e-9")).normalize() + 0


def _day(row: Mapping[str, Any], key: str) -> date:
    text = read_text(row, key)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UnreadableAnswerError(f"The field {key} was '{text}' instead of a date.") from None


def _subject(row: Mapping[str, Any]) -> str:
    names = ("symbol", "old_symbol", "acquiree_symbol", "source_symbol")
    return next((str(row[name]) for name in names if row.get(name)), "An unnamed symbol")


@contextmanager
def _reading() -> Iterator[None]:
    """What goes wrong while reading may work later."""
    try:
        yield
    except HttpError as error:
        problem = str(error)
    else:
        return
    raise MarketDataUnavailableError(f"Alpaca's corporate actions could not be read: {problem}")


def open_action_source(surroundings: SourceSurroundings) -> AlpacaCorporateActions:
    """Alpaca with the key pair of the settings."""
    settings, now = surroundings.settings, surroundings.clock
    keys = AlpacaKeys.of(settings)
    limiter = shared_limiter(settings, keys, kind="data", now=now)
    return AlpacaCorporateActions(keys=keys, limiter=limiter, now=now, base_url=settings.apca_api_data_url)
