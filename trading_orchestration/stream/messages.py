"""What clients and the price stream say to each other: JSON objects, one a message. See docs/stream.md."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import InvalidInputError


class Action(StrEnum):
    """What a client may ask."""

    SUBSCRIBE = "subscribe"
    UNSUBSCRIBE = "unsubscribe"
    RESUME = "resume"


class State(StrEnum):
    """Whether the prices that are sent follow the database."""

    LIVE = "live"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client. Only `resume` has a sequence, and only there may the symbols be left out."""

    action: Action
    symbols: tuple[str, ...] | None
    sequence: int | None = None


_KEYS = {
    Action.SUBSCRIBE: {"action", "symbols"},
    Action.UNSUBSCRIBE: {"action", "symbols"},
    Action.RESUME: {"action", "symbols", "sequence"},
}
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,15}")
_MAX_QUOTED = 40


def parse_request(message: str | bytes) -> Request:
    """Read a client's message; raises InvalidInputError with a sentence for the client."""
    if isinstance(message, bytes):
        raise InvalidInputError("A message must be text that holds JSON; this one was binary.")
    content = _parse_object(message)
    action = _parse_action(content.get("action"))
    unknown = sorted(content.keys() - _KEYS[action])
    if unknown:
        raise InvalidInputError(f"{action} has no key {_quoted(unknown[0])}; leave it out.")
    if action is not Action.RESUME:
        return Request(action, _parse_symbols(content.get("symbols")))
    symbols = _parse_symbols(content["symbols"]) if "symbols" in content else None
    return Request(action, symbols, _parse_sequence(content.get("sequence")))


def encode_price(quote: Quote) -> str:
    """One price as JSON: decimals as strings without trailing zeros, the instant in ISO 8601 (UTC)."""
    return _encode(
        {
            "symbol": quote.symbol,
            "price": _decimal(quote.price),
            "bid": _decimal(quote.bid),
            "ask": _decimal(quote.ask),
            "previous_close": _decimal(quote.previous_close),
            "quoted_at": quote.quoted_at.isoformat(),
            "source": quote.source,
        }
    )


def prices_message(sequence: int, prices: Iterable[str]) -> str:
    """The newest prices of symbols that changed; `prices` are encoded already."""
    return f'{{"type":"prices","sequence":{sequence},"prices":[{",".join(prices)}]}}'


def snapshot_message(
    sequence: int, prices: Iterable[str], *, unpriced: list[str], missed: int | None = None
) -> str:
    """All prices a request asked for.

    `unpriced` have no price yet; `missed` counts the batches since the one a resuming client saw last.
    """
    missed_batches = "" if missed is None else f'"missed_batches":{missed},'
    return (
        f'{{"type":"snapshot","sequence":{sequence},{missed_batches}'
        f'"unpriced":{_encode(unpriced)},"prices":[{",".join(prices)}]}}'
    )


def status_message(sequence: int, state: State) -> str:
    """Whether prices are live."""
    return _encode({"type": "status", "state": state, "sequence": sequence})


def error_message(reason: str) -> str:
    """Why a request was refused; the connection and its subscriptions stay as they were."""
    return _encode({"type": "error", "message": reason})


def _parse_object(message: str) -> dict[str, Any]:
    try:
        content = json.loads(message)
    except (ValueError, RecursionError):
        raise InvalidInputError(f"The message {_quoted(message)} is not JSON; send a JSON object.") from None
    if not isinstance(content, dict):
        raise InvalidInputError(f"The message {_quoted(message)} is not a JSON object.")
    return content


def _parse_action(value: object) -> Action:
    try:
        return Action(value)  # type: ignore[arg-type]
    except ValueError:
        known = ", ".join(Action)
        raise InvalidInputError(f"The action {_quoted(value)} is unknown; send one of {known}.") from None


def _parse_symbols(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InvalidInputError(f'The symbols {_quoted(value)} are not a list; send "symbols": ["AAPL"].')
    for symbol in value:
        if not isinstance(symbol, str) or not _SYMBOL.fullmatch(symbol):
            raise InvalidInputError(
                f"The symbol {_quoted(symbol)} is not one; use up to 16 capital letters, digits and . - /"
            )
    return tuple(dict.fromkeys(value))


def _parse_sequence(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidInputError(
            f"The sequence {_quoted(value)} is not a whole number from 0; send the last one received."
        )
    return value


def _quoted(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]}…"


def _decimal(value: Decimal | None) -> str | None:
    return None if value is None else f"{value.normalize():f}"


def _encode(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
