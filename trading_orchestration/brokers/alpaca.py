"""Alpaca as a broker, over its REST interface.

An order is sent once: nothing that acts is ever tried again in here. What an answer means is read from
its status, code and message together, because one code of Alpaca's covers many causes.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from trading_orchestration.brokers import BrokerSurroundings, alpaca_rows
from trading_orchestration.brokers.alpaca_fields import unknown_fields
from trading_orchestration.brokers.broker import (
    Broker,
    BrokerAccount,
    BrokerClock,
    BrokerEquity,
    BrokerOrder,
    BrokerPosition,
    BrokerSession,
    CashActivity,
    Execution,
)
from trading_orchestration.domain.market_time import Clock
from trading_orchestration.domain.trade import OrderTerms, TimeInForce
from trading_orchestration.errors import (
    BrokerError,
    BrokerNotAuthorizedError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
)
from trading_orchestration.vendor_http.alpaca import (
    KEY_VARIABLES,
    LIVE_HOST,
    PAPER_HOST,
    AlpacaKeys,
    alpaca_http,
    is_not_authorized,
    refuse_mixed_money,
    shared_limiter,
)
from trading_orchestration.vendor_http.answer import Answer, read_text
from trading_orchestration.vendor_http.client import DEFAULT_TIMEOUTS, Timeouts
from trading_orchestration.vendor_http.failures import HttpError, NotSentError, UnreadableAnswerError
from trading_orchestration.vendor_http.rate_limit import RateLimiter

ORDERS_PER_PAGE = 500
EXECUTIONS_PER_PAGE = 100
#: More pages than any account fills in a day: a vendor that never ends is a fault, not data.
MOST_PAGES = 200

#: The vendor may have acted in spite of these.
_AMBIGUOUS_STATUSES = frozenset({408, 409, 425, 429})
NOT_FOUND_CODE = 40410000


class AlpacaBroker:
    """One account at Alpaca; implements `Broker`, and `replace_order` besides."""

    def __init__(
        self,
        *,
        keys: AlpacaKeys,
        is_live: bool,
        limiter: RateLimiter,
        now: Clock,
        base_url: str | None = None,
        timeouts: Timeouts = DEFAULT_TIMEOUTS,
    ) -> None:
        """`base_url` defaults to Alpaca's own for paper or live money.

        Raises:
            SettingsError: the URL or the key belongs to the other kind of money, or cannot be used.
        """
        url = base_url or f"https://{LIVE_HOST if is_live else PAPER_HOST}"
        refuse_mixed_money(url, keys, is_live=is_live)
        self._is_live = is_live
        self._unfamiliar: dict[str, None] = {}
        self._http = alpaca_http(keys, url, limiter=limiter, now=now, timeouts=timeouts)

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # What acts ─────────────────────────────────────────────────────────────────────────────────────────

    def submit_order(self, client_order_id: str, terms: OrderTerms) -> BrokerOrder:
        """Send an order, once. See `Broker.submit_order`."""
        body = {
            "client_order_id": client_order_id,
            "symbol": terms.symbol,
            "side": terms.side.value,
            "type": terms.order_type.value,
            "time_in_force": terms.time_in_force.value,
            **_written(qty=terms.quantity, limit_price=terms.limit_price, stop_price=terms.stop_price),
        }
        answer = self._act("POST", "/v2/orders", f"order {client_order_id}", body)
        return self._accepted_order(answer, client_order_id)

    def replace_order(
        self,
        broker_order_id: str,
        *,
        client_order_id: str,
        quantity: Decimal | None = None,
        limit_price: Decimal | None = None,
        stop_price: Decimal | None = None,
        time_in_force: TimeInForce | None = None,
    ) -> BrokerOrder:
        """Ask for other terms; the answer is the new order, under a new id, that replaces the old one.

        Raises what `submit_order` raises. Success does not promise that the old order was not filled
        meanwhile; its status says so later.
        """
        body = {
            "client_order_id": client_order_id,
            **_written(qty=quantity, limit_price=limit_price, stop_price=stop_price),
            **({"time_in_force": time_in_force.value} if time_in_force else {}),
        }
        path = f"/v2/orders/{self._checked_id(broker_order_id)}"
        answer = self._act("PATCH", path, f"replacement {client_order_id}", body)
        return self._accepted_order(answer, client_order_id)

    def cancel_order(self, broker_order_id: str) -> None:
        """Ask for a cancel. See `Broker.cancel_order`."""
        self._act(
            "DELETE", f"/v2/orders/{self._checked_id(broker_order_id)}", f"cancel of order {broker_order_id}"
        )

    def _checked_id(self, broker_order_id: str) -> str:
        if not _is_order_id(broker_order_id):
            raise BrokerRefusedError(f"Alpaca has no order {broker_order_id!r}: its ids are UUIDs.")
        return broker_order_id

    def _act(self, method: str, path: str, what: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send once; what went wrong is refused, unknown, or certain not to have happened."""
        try:
            answer = self._http.send(method, path, body=body)
        except NotSentError as error:
            raise BrokerUnavailableError(f"The {what} was not sent: {error}") from None
        except HttpError as error:
            raise BrokerUnknownError(f"What became of the {what} is not known: {error}") from None
        if 200 <= answer.status < 300:
            return answer
        raise self._refusal(answer, what)

    def _refusal(self, answer: Answer, what: str) -> BrokerError:
        explanation = answer.error_row()
        if answer.status == 401 or (
            explanation is not None and _is_authorization(answer.status, explanation)
        ):
            return self._not_authorized(answer)
        if explanation is None or answer.status in _AMBIGUOUS_STATUSES or not 400 <= answer.status < 500:
            return BrokerUnknownError(f"What became of the {what} is not known: {answer.describe()}.")
        message = str(explanation.get("message", answer.describe()))
        return BrokerRefusedError(
            f"Alpaca refused the {what}: {message} (HTTP {answer.status}, code {explanation.get('code')}).",
            is_duplicate_client_order_id="client_order_id" in message and "unique" in message,
            is_about_fractions="not fractionable" in message,
        )

    def _accepted_order(self, answer: Answer, client_order_id: str) -> BrokerOrder:
        try:
            order = alpaca_rows.read_order(answer.row())
        except UnreadableAnswerError as error:
            problem = str(error)
        else:
            if order.client_order_id == client_order_id:
                self._notice("order", answer.row())
                return order
            problem = f"the answer is about order {order.client_order_id}"
        raise BrokerUnknownError(f"Alpaca's answer to order {client_order_id} cannot be used: {problem}")

    # What reads ────────────────────────────────────────────────────────────────────────────────────────

    def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        """The order, or None where Alpaca knows none. See `Broker.get_order`."""
        if not _is_order_id(broker_order_id):
            return None
        return self._find_order(f"/v2/orders/{broker_order_id}")

    def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """The order, or None where Alpaca knows none. See `Broker.get_order_by_client_id`."""
        return self._find_order("/v2/orders:by_client_order_id", {"client_order_id": client_order_id})

    def list_open_orders(self) -> Sequence[BrokerOrder]:
        """Every order that may still be filled, oldest first. See `Broker.list_open_orders`."""
        return self._list_orders("open", after=None)

    def list_orders(self, *, after: datetime) -> Sequence[BrokerOrder]:
        """Every order submitted after that instant, oldest first. See `Broker.list_orders`."""
        return self._list_orders("all", after=after)

    def list_executions(self, *, after: datetime) -> Sequence[Execution]:
        """Every execution after that instant, oldest first. See `Broker.list_executions`."""
        with _reading("list of fills"):
            rows = self._all_activities("/v2/account/activities/FILL", after)
            self._notice("fill", *rows)
            executions = [alpaca_rows.read_execution(row) for row in rows]
        return sorted(executions, key=lambda e: (e.executed_at, e.cumulative_quantity, e.execution_id))

    def list_cash_activities(self, *, after: datetime) -> Sequence[CashActivity]:
        """Dividends and fees since that instant. See `Broker.list_cash_activities`."""
        kinds = {"activity_types": ",".join(alpaca_rows.CASH_KINDS)}
        with _reading("list of dividends and fees"):
            rows = self._all_activities("/v2/account/activities", after, kinds)
            self._notice("activity", *rows)
            return [alpaca_rows.read_cash_activity(row) for row in rows]

    def unfamiliar(self) -> Sequence[str]:
        """Words and fields that Alpaca has not published. See `Broker.unfamiliar`."""
        return tuple(self._unfamiliar)

    def get_positions(self) -> Sequence[BrokerPosition]:
        """Every position that is not flat, by symbol. See `Broker.get_positions`."""
        with _reading("positions"):
            rows = self._get("/v2/positions").rows()
            self._notice("position", *rows)
            positions = [alpaca_rows.read_position(row) for row in rows]
        return sorted((p for p in positions if p.quantity != 0), key=lambda p: p.symbol)

    def get_account(self) -> BrokerAccount:
        """The account's money. See `Broker.get_account`."""
        with _reading("account"):
            row = self._get("/v2/account").row()
            self._notice("account", row)
            return alpaca_rows.read_account(row)

    def get_clock(self) -> BrokerClock:
        """Alpaca's time and market state. See `Broker.get_clock`."""
        with _reading("clock"):
            return alpaca_rows.read_clock(self._get("/v2/clock").row())

    def get_calendar(self, *, first: date, last: date) -> Sequence[BrokerSession]:
        """Alpaca's trading days, inclusive. See `Broker.get_calendar`."""
        with _reading("calendar"):
            answer = self._get("/v2/calendar", {"start": first.isoformat(), "end": last.isoformat()})
            return [alpaca_rows.read_session(row) for row in answer.rows()]

    def get_equity_history(self, *, first: date, last: date) -> Sequence[BrokerEquity]:
        """What Alpaca valued the account at, a session. See `HasEquityHistory`."""
        with _reading("portfolio history"):
            answer = self._get("/v2/account/portfolio/history", alpaca_rows.equity_window(first, last))
            return alpaca_rows.read_equities(answer.row())

    def _find_order(self, path: str, params: Mapping[str, str] | None = None) -> BrokerOrder | None:
        with _reading("order"):
            answer = self._http.get(path, params)
            if answer.status == 404 and _says_no_such_order(answer):
                return None
            row = self._successful(answer).row()
            self._notice("order", row)
            return alpaca_rows.read_order(row)

    def _list_orders(self, status: str, *, after: datetime | None) -> Sequence[BrokerOrder]:
        with _reading("list of orders"):
            rows = self._all_orders(status, after)
            orders = [self._listed_order(row) for row in rows if not alpaca_rows.is_combination(row)]
        return sorted((order for order in orders if order), key=lambda order: order.submitted_at)

    def _listed_order(self, row: Mapping[str, Any]) -> BrokerOrder | None:
        """One order of a list; None for one that cannot be read, which must not hide the others.

        Where it is one of ours it is missed in the list, asked for by its id, and refused there.
        """
        self._notice("order", row)
        try:
            return alpaca_rows.read_order(row)
        except UnreadableAnswerError as error:
            self._unfamiliar[f"order {row['id']}, which cannot be read: {error}"] = None
            return None

    def _all_orders(self, status: str, after: datetime | None) -> Sequence[Mapping[str, Any]]:
        """All pages. Each overlaps the one before by its last instant, so that no order with an equal one
        is passed over; where a whole page has one instant, Alpaca's order id is the way on."""
        seen: dict[str, Mapping[str, Any]] = {}
        way_on = {"after": _stamp(after)} if after else {}
        for _ in range(MOST_PAGES):
            params = {"status": status, "direction": "asc", "limit": str(ORDERS_PER_PAGE), "nested": "false"}
            rows = self._get("/v2/orders", params | way_on).rows()
            page = {read_text(row, "id"): row for row in rows}
            is_progress = not page.keys() <= seen.keys()
            seen |= page
            if len(rows) < ORDERS_PER_PAGE:
                return list(seen.values())
            if is_progress and "after_order_id" not in way_on:
                overlap = alpaca_rows.read_submitted_at(rows[-1]) - timedelta(microseconds=1)
                way_on = {"after": _stamp(max(overlap, after) if after else overlap)}
            elif is_progress or "after_order_id" not in way_on:
                way_on = {"after_order_id": rows[-1]["id"]}
            else:
                break
        raise BrokerUnavailableError("Alpaca's list of orders does not end; it was not used.")

    def _all_activities(
        self, path: str, after: datetime, kinds: Mapping[str, str] = MappingProxyType({})
    ) -> Sequence[Mapping[str, Any]]:
        seen: dict[str, Mapping[str, Any]] = {}
        params = {
            **kinds,
            "after": _stamp(after),
            "direction": "asc",
            "page_size": str(EXECUTIONS_PER_PAGE),
        }
        for _ in range(MOST_PAGES):
            rows = self._get(path, params).rows()
            page = {read_text(row, "id"): row for row in rows}
            is_progress = not page.keys() <= seen.keys()
            seen |= page
            if len(rows) < EXECUTIONS_PER_PAGE:
                return list(seen.values())
            if not is_progress:
                break
            params["page_token"] = rows[-1]["id"]
        raise BrokerUnavailableError("Alpaca's list of activities does not end; it was not used.")

    def _notice(self, kind: str, *rows: Mapping[str, Any]) -> None:
        """Keep what these rows say that this version does not know."""
        for row in rows:
            self._unfamiliar.update(dict.fromkeys(unknown_fields(kind, row)))
            if kind == "order":
                self._unfamiliar.update(dict.fromkeys(alpaca_rows.unknown_words(row)))

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Answer:
        return self._successful(self._http.get(path, params))

    def _successful(self, answer: Answer) -> Answer:
        if answer.status == 200:
            return answer
        if is_not_authorized(answer):
            raise self._not_authorized(answer)
        raise BrokerUnavailableError(f"Alpaca did not answer as it should: {answer.describe()}.")

    def _not_authorized(self, answer: Answer) -> BrokerNotAuthorizedError:
        return BrokerNotAuthorizedError(
            f"Alpaca refused the credentials ({answer.describe()}); set {KEY_VARIABLES} to a key pair of the "
            f"account's {'live' if self._is_live else 'paper'} side."
        )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """What goes wrong while reading may work later."""
    try:
        yield
    except HttpError as error:
        problem = str(error)
    else:
        return
    raise BrokerUnavailableError(f"Alpaca's {what} could not be read: {problem}")


def _is_authorization(status: int, explanation: Mapping[str, Any]) -> bool:
    """A 403 with a code of the 403 family is about the order; without one it is about the key."""
    code = str(explanation.get("code", ""))
    return code == "40110000" or (status == 403 and not code.startswith("403"))


def _says_no_such_order(answer: Answer) -> bool:
    """A 404 that is about the order, not about the path: only this one is a verdict."""
    explanation = answer.error_row() or {}
    return explanation.get("code") == NOT_FOUND_CODE or "order not found" in str(explanation.get("message"))


def _is_order_id(text: str) -> bool:
    """Alpaca's ids are UUIDs: no order of its can have another."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _written(**numbers: Decimal | None) -> dict[str, str]:
    """Numbers as Alpaca takes them: plain digits, without an exponent."""
    return {name: f"{number:f}" for name, number in numbers.items() if number is not None}


def _stamp(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def open_broker(surroundings: BrokerSurroundings) -> Broker:
    """The account that the key pair of the settings belongs to."""
    settings, now = surroundings.settings, surroundings.clock
    keys = AlpacaKeys.of(settings)
    return AlpacaBroker(
        keys=keys,
        is_live=surroundings.is_live,
        limiter=shared_limiter(settings, keys, kind="trading", now=now),
        now=now,
        base_url=settings.apca_api_base_url,
    )
