"""Alpaca's pages of market data: so many rows at a time, and a token that says after which one to go on."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from trading_orchestration.simulator.api import ApiError

#: The group a row is answered in (a symbol, a kind of action), and the row.
Named = tuple[str, dict[str, Any]]


def page(
    under: str, rows: Sequence[Named], ids: Sequence[str], query: Mapping[str, str], *, usual: int, most: int
) -> dict[str, Any]:
    """One page of rows, grouped, under a name; `ids` tell the rows apart. Raises ApiError (400)."""
    limit, token, begin = _limit(query.get("limit"), usual, most), query.get("page_token"), 0
    if token:
        last = urlsafe_b64decode(token).decode()
        if last not in ids:
            raise bad_request("invalid page_token")
        begin = ids.index(last) + 1
    groups: dict[str, list[dict[str, Any]]] = {}
    for name, row in rows[begin : begin + limit]:
        groups.setdefault(name, []).append(row)
    is_more = begin + limit < len(rows)
    following = urlsafe_b64encode(ids[begin + limit - 1].encode()).decode() if is_more else None
    return {under: groups, "next_page_token": following}


def bad_request(message: str) -> ApiError:
    """Alpaca's answer to a request it does not understand."""
    return ApiError(400, {"message": message})


def _limit(given: str | None, usual: int, most: int) -> int:
    if given is None:
        return usual
    if not given.isdecimal() or not 0 < int(given) <= most:
        raise bad_request(f"invalid limit: it must be between 1 and {most}")
    return int(given)
