import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store.price_notifications import PriceReading
from trading_orchestration.stream.broadcast import PriceBook, Subscriber
from trading_orchestration.stream.messages import Action, Request, State

NOON = datetime(2024, 7, 3, 16, tzinfo=UTC)


def quote(symbol: str, price: int) -> Quote:
    return Quote(symbol=symbol, price=Decimal(price), quoted_at=NOON, source="test")


def reading(sequence: int, *, is_complete: bool = False, **prices: int) -> PriceReading:
    quotes = [quote(symbol, price) for symbol, price in prices.items()]
    return PriceReading(sequence, quotes, is_complete=is_complete)


class Floor:
    """A book with one subscriber that watches `symbols`."""

    def __init__(self, *symbols: str, max_symbols: int = 10) -> None:
        self.book = PriceBook()
        self.subscriber = Subscriber(self.book, max_symbols=max_symbols)
        if symbols:
            self.subscriber.answer(Request(Action.SUBSCRIBE, symbols))
        self.told()

    def take(self, sequence: int, *, is_complete: bool = False, **prices: int) -> None:
        self.subscriber.notice(self.book.take(reading(sequence, is_complete=is_complete, **prices)))

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.subscriber.messages()]

    def told_prices(self) -> dict[str, str]:
        return {price["symbol"]: price["price"] for message in self.told() for price in message["prices"]}


def test_a_subscriber_hears_only_of_its_symbols() -> None:
    floor = Floor("AAPL")
    floor.take(1, AAPL=10, MSFT=20)
    assert floor.told_prices() == {"AAPL": "10"}


def test_many_changes_before_a_flush_are_one_message_with_the_newest_price() -> None:
    floor = Floor("AAPL", "MSFT")
    for sequence in range(1, 100):
        floor.take(sequence, AAPL=sequence, MSFT=1)
    (message,) = floor.told()
    assert message["sequence"] == 99
    assert {price["symbol"]: price["price"] for price in message["prices"]} == {"AAPL": "99", "MSFT": "1"}
    assert floor.told() == []


def test_a_price_that_did_not_change_is_not_sent_again() -> None:
    floor = Floor("AAPL", "MSFT")
    floor.take(1, AAPL=10, MSFT=20)
    floor.told()
    floor.take(2, is_complete=True, AAPL=10, MSFT=21)
    assert floor.told_prices() == {"MSFT": "21"}


def test_a_message_holds_the_price_of_the_moment_it_is_made() -> None:
    """A client stalled on the status message gets the newest price after it, not the one from before."""
    floor = Floor("AAPL")
    floor.take(1, AAPL=10)
    floor.book.state = State.STALE
    messages = floor.subscriber.messages()
    assert json.loads(next(messages))["state"] == "stale"
    floor.take(2, AAPL=11)
    assert json.loads(next(messages))["prices"][0]["price"] == "11"


def test_a_status_is_told_once_and_only_when_it_differs_from_what_was_told() -> None:
    floor = Floor()
    floor.book.state = State.STALE
    floor.book.state = State.LIVE
    assert floor.told() == []
    floor.book.state = State.STALE
    assert [message["state"] for message in floor.told()] == ["stale"]
    assert floor.told() == []


def test_unsubscribing_drops_what_was_pending() -> None:
    floor = Floor("AAPL", "MSFT")
    floor.take(1, AAPL=10, MSFT=20)
    assert floor.subscriber.answer(Request(Action.UNSUBSCRIBE, ("AAPL", "ZZZ"))) is None
    assert floor.told_prices() == {"MSFT": "20"}


def test_a_snapshot_takes_the_place_of_what_was_pending() -> None:
    floor = Floor("AAPL")
    floor.take(1, AAPL=10)
    snapshot = json.loads(floor.subscriber.answer(Request(Action.SUBSCRIBE, ("AAPL",))) or "")
    assert snapshot["prices"][0]["price"] == "10"
    assert floor.told() == []


def test_resuming_replaces_the_subscription_and_counts_the_missed_batches() -> None:
    floor = Floor("AAPL")
    floor.take(9, AAPL=10, MSFT=20, IBM=30)
    snapshot = json.loads(floor.subscriber.answer(Request(Action.RESUME, ("MSFT", "ZZZ"), 4)) or "")
    assert snapshot["missed_batches"] == 5
    assert snapshot["sequence"] == 9
    assert [price["symbol"] for price in snapshot["prices"]] == ["MSFT"]
    assert snapshot["unpriced"] == ["ZZZ"]
    floor.take(10, AAPL=11, ZZZ=1)
    assert floor.told_prices() == {"ZZZ": "1"}


def test_resuming_without_symbols_repeats_the_subscription_that_is_there() -> None:
    floor = Floor("AAPL")
    floor.take(1, AAPL=10, MSFT=20)
    snapshot = json.loads(floor.subscriber.answer(Request(Action.RESUME, None, 5)) or "")
    assert snapshot["missed_batches"] == 0
    assert [price["symbol"] for price in snapshot["prices"]] == ["AAPL"]


@pytest.mark.parametrize("action", [Action.SUBSCRIBE, Action.RESUME])
def test_too_many_symbols_are_refused_and_change_nothing(action: Action) -> None:
    floor = Floor("AAPL", max_symbols=2)
    with pytest.raises(InvalidInputError, match="may watch 2 symbols and this would make 3"):
        floor.subscriber.answer(Request(action, ("AAPL", "IBM", "MSFT"), 0))
    floor.take(1, AAPL=10, IBM=20)
    assert floor.told_prices() == {"AAPL": "10"}


def test_a_symbol_gone_from_a_complete_reading_has_no_price_any_more() -> None:
    floor = Floor("AAPL", "MSFT")
    floor.take(1, is_complete=True, AAPL=10, MSFT=20)
    floor.take(2, is_complete=True, MSFT=20)
    assert floor.book.without_price(["AAPL", "MSFT"]) == ["AAPL"]


SYMBOLS = ("A", "B", "C")
STEPS = st.lists(
    st.tuples(st.just("prices"), st.dictionaries(st.sampled_from(SYMBOLS), st.integers(1, 3)))
    | st.tuples(st.just("subscribe"), st.sampled_from(SYMBOLS))
    | st.tuples(st.just("unsubscribe"), st.sampled_from(SYMBOLS))
    | st.tuples(st.just("flush"), st.none())
)


@given(STEPS)
def test_after_a_flush_a_client_always_knows_the_newest_price_of_what_it_watches(
    steps: list[tuple[str, Any]],
) -> None:
    floor, watched, newest, known = Floor(), set[str](), dict[str, str](), dict[str, str]()
    for sequence, (step, given_value) in enumerate([*steps, ("flush", None)], start=1):
        if step == "prices":
            floor.take(sequence, **given_value)
            newest |= {symbol: str(price) for symbol, price in given_value.items()}
        elif step == "flush":
            known |= floor.told_prices()
        else:
            reply = floor.subscriber.answer(Request(Action(step), (given_value,)))
            known |= {p["symbol"]: p["price"] for p in json.loads(reply or '{"prices":[]}')["prices"]}
            watched = watched | {given_value} if step == "subscribe" else watched - {given_value}
    assert {s: known.get(s) for s in watched} == {s: newest.get(s) for s in watched}
