"""Alpaca's corporate actions: read to the last page, each as what it is here, none dropped in silence."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import MarketDataNotAuthorizedError, MarketDataUnavailableError
from trading_orchestration.market_data.alpaca_actions import AlpacaCorporateActions
from trading_orchestration.services.actions_fetch import fetch_actions
from trading_orchestration.store import prices
from trading_orchestration.store.database import transaction
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.loopback_vendor import LoopbackVendor, Reply, loopback_vendor
from trading_orchestration_tests.fixtures.market_calendars import INDEPENDENCE_WEEK

FIRST, LAST = date(2024, 7, 1), date(2024, 7, 8)


@pytest.fixture
def vendor() -> Iterator[LoopbackVendor]:
    with loopback_vendor() as vendor:
        yield vendor


@pytest.fixture
def source(vendor: LoopbackVendor) -> Iterator[AlpacaCorporateActions]:
    source = AlpacaCorporateActions(
        keys=AlpacaKeys(SecretStr("PKCANARY1"), SecretStr("canary-secret-2")),
        limiter=Unlimited(),
        now=lambda: datetime(2024, 7, 9, tzinfo=UTC),
        base_url=vendor.url,
        timeouts=Timeouts(connect_s=10, answer_s=10, read_s=10),
    )
    yield source
    source.close()


def page(token: str | None = None, **kinds: list[dict[str, Any]]) -> Reply:
    return Reply(json={"corporate_actions": kinds, "next_page_token": token})


def row(**changes: Any) -> dict[str, Any]:
    """The fields that the specification requires of a split or a dividend."""
    return {
        "id": "6d7c1d9c",
        "symbol": "AAPL",
        "cusip": "037833100",
        "process_date": "2024-07-03",
        "ex_date": "2024-07-03",
    } | changes


def test_every_page_is_read_and_each_kind_is_what_it_is_here(
    vendor: LoopbackVendor, source: AlpacaCorporateActions
) -> None:
    vendor.replies(
        page(
            "more",
            forward_splits=[
                row(new_rate=7, old_rate=1, payable_date="2024-07-02"),
                row(symbol="LATER", new_rate=7, old_rate=1, ex_date="2024-07-09"),
            ],
            reverse_splits=[row(symbol="XYZ", new_rate=1, old_rate=10, new_symbol="XYZD")],
            cash_dividends=[
                row(
                    rate=0.38,
                    special=False,
                    foreign=False,
                    payable_date="2024-08-08",
                    process_date="2024-08-08",
                ),
                row(symbol="IBM", rate=1.65, special=True, foreign=False, payable_date="2024-07-08"),
            ],
        ),
        page(
            name_changes=[{"old_symbol": "FB", "new_symbol": "META", "process_date": "2024-07-05"}],
            cash_mergers=[{"acquiree_symbol": "TWTR", "rate": 54.2, "effective_date": "2024-07-05"}],
            worthless_removals=[
                {"symbol": "ZZZ", "process_date": "2024-07-08"},
                {"symbol": "LATER", "process_date": "2024-07-09"},
            ],
        ),
    )
    found = source.get_actions(["AAPL", "IBM"], FIRST, LAST)
    day, later = date(2024, 7, 3), date(2024, 7, 5)
    assert found.actions == [
        NewAction(kind=ActionKind.SPLIT, symbol="AAPL", on=day, ratio=(Decimal(7), Decimal(1))),
        NewAction(kind=ActionKind.SPLIT, symbol="XYZ", on=day, ratio=(Decimal(1), Decimal(10))),
        NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="XYZ", on=day, new_symbol="XYZD"),
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol="AAPL",
            on=day,
            pays_on=date(2024, 8, 8),
            cash_per_unit=Decimal("0.38"),
        ),
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol="IBM",
            on=day,
            pays_on=LAST,
            cash_per_unit=Decimal("1.65"),
            is_special=True,
        ),
        NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="FB", on=later, new_symbol="META"),
        NewAction(kind=ActionKind.DELISTING, symbol="TWTR", on=later, cash_per_unit=Decimal("54.2")),
        NewAction(kind=ActionKind.DELISTING, symbol="ZZZ", on=LAST, cash_per_unit=Decimal(0)),
    ]
    assert found.untold == []
    first, second = vendor.asked
    assert first.path == "/v1/corporate-actions"
    assert (first.params["symbols"], first.params["start"], first.params["end"]) == (
        "AAPL,IBM",
        "2024-07-01",
        "2024-10-06",
    ), "a dividend is processed when it is paid"
    assert second.params["page_token"] == "more"


def test_what_cannot_be_taken_over_is_named(vendor: LoopbackVendor, source: AlpacaCorporateActions) -> None:
    vendor.replies(
        page(
            spin_offs=[{"source_symbol": "GE", "process_date": "2024-07-02"}],
            cash_dividends=[row(rate=1, currency="CAD"), row(symbol="IBM", rate=1.65, payable_date=None)],
        )
    )
    found = source.get_actions(["GE"], FIRST, LAST)
    assert found.actions == []
    assert found.untold == [
        "GE: a spin_offs of 2024-07-02 was left out.",
        "AAPL: a cash_dividends in another currency or country was left out.",
        "IBM: a dividend of 1.65 (2024-07-03) was left out, for Alpaca does not say when it is paid.",
    ]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (
            Reply(status=401, json={"message": "unauthorized."}),
            MarketDataNotAuthorizedError,
            "APCA_API_KEY_ID",
        ),
        (
            Reply(status=500, json={"message": "no"}),
            MarketDataUnavailableError,
            "did not answer as it should",
        ),
        (Reply(text="<html>"), MarketDataUnavailableError, "could not be read"),
        (page(forward_splits=[row(new_rate="many", old_rate=1)]), MarketDataUnavailableError, "new_rate"),
        (
            page(cash_dividends=[row(rate=1, ex_date="soon", payable_date="2024-07-08")]),
            MarketDataUnavailableError,
            "ex_date was 'soon'",
        ),
    ],
)
def test_an_answer_that_is_none_is_an_error_in_a_sentence(
    vendor: LoopbackVendor,
    source: AlpacaCorporateActions,
    reply: Reply,
    error: type[Exception],
    said: str,
) -> None:
    vendor.replies(reply)
    with pytest.raises(error, match=said):
        source.get_actions(["AAPL"], FIRST, LAST)


def test_what_is_refused_is_told_and_the_others_are_entered_once(
    engine: sa.Engine, vendor: LoopbackVendor, source: AlpacaCorporateActions
) -> None:
    begin = partial(transaction, engine)
    with begin() as connection:
        prices.ensure_instruments(connection, ["AAPL"])
    vendor.replies(
        page(
            forward_splits=[row(new_rate=7, old_rate=1), row(new_rate=2, old_rate=1, ex_date="2024-07-04")],
            spin_offs=[{"source_symbol": "GE", "process_date": "2024-07-02"}],
        )
    )
    fetch = partial(
        fetch_actions, source, FIRST, LAST, begin=begin, calendar=INDEPENDENCE_WEEK, benchmark="AAPL"
    )
    fetched = fetch()
    assert [(one.action.sentence, one.is_new) for one in fetched.entered] == [
        ("AAPL is split 7:1 on 2024-07-03", True)
    ]
    assert len(fetched.left_out) == 2
    assert "2024-07-04 (Thursday) is not a session of XNYS" in fetched.left_out[1]
    assert [one.is_new for one in fetch().entered] == [False]
