import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.stream.messages import (
    Action,
    Request,
    encode_price,
    error_message,
    parse_request,
    snapshot_message,
)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def test_subscribe_names_each_symbol_once_in_the_order_given() -> None:
    request = parse_request('{"action":"subscribe","symbols":["MSFT","BRK.B","MSFT"]}')
    assert request == Request(Action.SUBSCRIBE, ("MSFT", "BRK.B"))


def test_resume_may_leave_the_symbols_out() -> None:
    assert parse_request('{"action":"resume","sequence":7}') == Request(Action.RESUME, None, 7)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b'{"action":"subscribe"}', "binary"),
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"action":"resume","sequence":' + "9" * 5_000 + "}", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "action None is unknown; send one of subscribe, unsubscribe, resume"),
        ('{"action":["subscribe"]}', "is unknown"),
        ('{"action":"subscribe"}', "symbols None are not a list"),
        ('{"action":"subscribe","symbols":[]}', "are not a list"),
        ('{"action":"subscribe","symbols":"AAPL"}', "are not a list"),
        ('{"action":"subscribe","symbols":["aapl"]}', "symbol 'aapl' is not one"),
        ('{"action":"subscribe","symbols":[7]}', "symbol 7 is not one"),
        ('{"action":"subscribe","symbols":["A\\n"]}', "is not one"),
        ('{"action":"subscribe","symbols":["AAPL"],"sequence":1}', "subscribe has no key 'sequence'"),
        ('{"action":"resume","symbols":["AAPL"]}', "sequence None is not a whole number"),
        ('{"action":"resume","sequence":-1}', "sequence -1 is not a whole number"),
        ('{"action":"resume","sequence":true}', "sequence True is not a whole number"),
        ('{"action":"resume","sequence":1.5}', "sequence 1.5 is not a whole number"),
    ],
)
def test_a_bad_request_is_refused_with_its_reason(message: str | bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        parse_request(message)
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 200


@given(st.dictionaries(st.sampled_from(["action", "symbols", "sequence", "x"]), JSON_VALUES) | JSON_VALUES)
def test_whatever_json_arrives_is_a_request_or_a_refusal_that_can_be_sent(content: object) -> None:
    refusals = []
    try:
        parse_request(json.dumps(content))
    except InvalidInputError as refusal:
        refusals.append(json.loads(error_message(str(refusal))))
    assert all(refusal["type"] == "error" for refusal in refusals)


def test_a_price_is_sent_as_decimal_strings_and_an_instant_with_its_offset() -> None:
    quote = Quote(
        symbol="AAPL",
        price=Decimal("187.440000000"),
        bid=Decimal("100.000000000"),
        ask=Decimal("0.000000001"),
        quoted_at=datetime(2024, 7, 3, 14, 35, tzinfo=UTC),
        source="alpaca",
    )
    assert json.loads(encode_price(quote)) == {
        "symbol": "AAPL",
        "price": "187.44",
        "bid": "100",
        "ask": "0.000000001",
        "previous_close": None,
        "quoted_at": "2024-07-03T14:35:00+00:00",
        "source": "alpaca",
    }


def test_a_snapshot_counts_missed_batches_only_for_a_client_that_resumes() -> None:
    plain = json.loads(snapshot_message(3, [], unpriced=["ZZZ"]))
    assert plain == {"type": "snapshot", "sequence": 3, "unpriced": ["ZZZ"], "prices": []}
    assert json.loads(snapshot_message(3, [], unpriced=[], missed=2))["missed_batches"] == 2
