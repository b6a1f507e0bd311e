"""FMP's corporate actions: what is certain is taken over, all else is named; cut lists are not believed."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from trading_orchestration.domain.corporate_action import ActionKind
from trading_orchestration.domain.new_action import NewAction
from trading_orchestration.errors import MarketDataNotAuthorizedError, MarketDataUnavailableError
from trading_orchestration.market_data.fmp_actions import FMPCorporateActions
from trading_orchestration.vendor_http.client import Timeouts
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.fixtures.loopback_vendor import Asked, LoopbackVendor, Reply, loopback_vendor

KEY = "canary-fmp-key-7"
FIRST, LAST = date(2014, 5, 1), date(2014, 6, 30)
GATED = Reply(402, text="Restricted Endpoint: This endpoint is not available under your current subscription")
GATED_SYMBOL = Reply(402, text="Premium Query Parameter: 'Special Endpoint : This value set for 'symbol' is")


def split(day: str = "2014-06-09", **changes: Any) -> dict[str, Any]:
    row = {"symbol": "AAPL", "date": day, "numerator": 7, "denominator": 1, "splitType": "stock-split"}
    return row | changes


def dividend(day: str = "2014-05-08", **changes: Any) -> dict[str, Any]:
    return {
        "symbol": "AAPL",
        "date": day,
        "recordDate": "2014-05-12",
        "paymentDate": "2014-05-15",
        "declarationDate": "",
        "adjDividend": 0.1175,
        "dividend": 3.29,
        "yield": 1.7,
        "frequency": "Quarterly",
    } | changes


class Lists:
    """What FMP's lists hold, by the end of their path; a `Reply` is given as it is."""

    def __init__(self, vendor: LoopbackVendor) -> None:
        self.vendor = vendor
        self.of: dict[str, Any] = {}
        vendor.answer = self.answer

    def answer(self, asked: Asked) -> Reply:
        found = self.of.get(asked.path.removeprefix("/stable/"), [])
        if isinstance(found, Reply):
            return found
        return Reply(json=found(asked.params) if callable(found) else found)

    def asked(self, path: str) -> list[dict[str, str]]:
        return [dict(one.params) for one in self.vendor.asked if one.path == f"/stable/{path}"]


@pytest.fixture
def lists() -> Iterator[Lists]:
    with loopback_vendor() as vendor:
        yield Lists(vendor)


@pytest.fixture
def source(lists: Lists) -> Iterator[FMPCorporateActions]:
    source = FMPCorporateActions(
        api_key=SecretStr(KEY),
        limiter=Unlimited(),
        now=lambda: datetime(2024, 7, 9, tzinfo=UTC),
        base_url=lists.vendor.url,
        timeouts=Timeouts(connect_s=10, answer_s=10, read_s=0.1),
    )
    yield source
    source.close()


def test_the_past_of_a_few_symbols_takes_two_requests_each(lists: Lists, source: FMPCorporateActions) -> None:
    """Amounts are those of their day: `dividend`, not `adjDividend`."""
    lists.of = {
        "splits": [split("2020-08-31", numerator=4), split(), split("2005-02-28", numerator=2)],
        "dividends": [
            dividend(),
            dividend(
                "2014-06-20", dividend=1, adjDividend=0.25, frequency="Special", paymentDate="2014-07-01"
            ),
            dividend("2014-08-07", dividend=0.47),
        ],
        "symbol-change": [
            {"date": "2014-06-02", "companyName": "A", "oldSymbol": "AAPL", "newSymbol": "AP-B"},
            {"date": "2005-01-03", "companyName": "B", "oldSymbol": "ZZZ", "newSymbol": "YYY"},
        ],
    }
    found = source.get_actions(["AAPL"], FIRST, LAST)
    seven = (Decimal(7), Decimal(1))
    assert found.actions == [
        NewAction(kind=ActionKind.SPLIT, symbol="AAPL", on=date(2014, 6, 9), ratio=seven),
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol="AAPL",
            on=date(2014, 5, 8),
            pays_on=date(2014, 5, 15),
            cash_per_unit=Decimal("3.29"),
        ),
        NewAction(
            kind=ActionKind.DIVIDEND,
            symbol="AAPL",
            on=date(2014, 6, 20),
            pays_on=date(2014, 7, 1),
            cash_per_unit=Decimal(1),
            is_special=True,
        ),
        NewAction(kind=ActionKind.SYMBOL_CHANGE, symbol="AAPL", on=date(2014, 6, 2), new_symbol="AP.B"),
    ]
    assert found.untold == []
    assert [asked.path.removeprefix("/stable/") for asked in lists.vendor.asked] == [
        "splits",
        "dividends",
        "symbol-change",
        "delisted-companies",
    ]
    assert all(
        asked.headers["apikey"] == KEY and "apikey" not in asked.params for asked in lists.vendor.asked
    )


@pytest.mark.parametrize(
    ("path", "row", "said"),
    [
        ("splits", split(numerator=0), "AAPL: a split of 2014-06-09 was left out. Its ratio was 0:1."),
        ("splits", split(denominator=7), "Its ratio was 7:7."),
        ("splits", split(numerator=None), "The field numerator was missing"),
        ("splits", split(splitType=None), "FMP calls it None instead of 'stock-split'."),
        ("splits", split(splitType="spin-off"), "FMP calls it 'spin-off' instead of"),
        ("splits", split(date="soon"), "The field date was 'soon' instead of a date."),
        ("splits", split(symbol="APLE"), "AAPL: FMP answered with splits of APLE, left out."),
        ("dividends", dividend(paymentDate=""), "It pays 3.29, and FMP does not say when."),
        ("dividends", dividend(paymentDate=None), "a dividend of 2014-05-08 was left out. It pays 3.29, and"),
        ("dividends", dividend(dividend=0), "Its amount was 0."),
        ("dividends", dividend(dividend=None), "The field dividend was missing"),
        ("dividends", dividend(currency="CAD"), "It is in 'CAD'."),
        (
            "dividends",
            dividend(dividend=0.1175),
            "in the units of today too, in spite of a split on 2020-08-31",
        ),
        (
            "symbol-change",
            {"date": "2014-06-02", "oldSymbol": "AAPL", "newSymbol": ""},
            "AAPL: a new symbol of 2014-06-02 was left out. The field newSymbol was ''",
        ),
        (
            "symbol-change",
            {"date": "2014-06-02", "oldSymbol": "ZZZ", "newSymbol": "YYY"},
            "New symbols from before 2014-06-02 are not in FMP's list.",
        ),
        ("symbol-change", GATED, "New symbols were not read. FMP's plan does not include this"),
        (
            "delisted-companies",
            {"symbol": "AAPL", "delistedDate": "2014-06-02"},
            "AAPL: a delisting of 2014-06-02 was left out. FMP says neither what a unit pays nor",
        ),
        ("delisted-companies", GATED, "Delistings were not read. FMP's plan does not include this"),
        (
            "dividends",
            GATED_SYMBOL,
            "AAPL: its dividends were not read. FMP's plan does not include a symbol",
        ),
    ],
)
def test_what_is_not_certain_is_named_and_left_to_a_person(
    lists: Lists, source: FMPCorporateActions, path: str, row: Any, said: str
) -> None:
    lists.of = {"splits": [split("2020-08-31", numerator=4)]}
    lists.of[path] = row if isinstance(row, Reply) else [*lists.of.get(path, []), row]
    found = source.get_actions(["AAPL"], FIRST, LAST)
    assert found.actions == []
    assert any(said in told for told in found.untold), found.untold


def test_many_symbols_are_looked_up_in_calendars_that_are_cut_off_without_a_word(
    lists: Lists, source: FMPCorporateActions
) -> None:
    """The splits' calendar goes back 90 days, the dividends' tells the newest rows; both are walked."""
    lists.of = {
        "splits-calendar": lambda asked: [
            split(day)
            for day in ("2014-06-09", "2014-01-02")
            if max(asked["from"], back(asked["to"])) <= day <= asked["to"]
        ],
        "dividends-calendar": lambda asked: [
            row for row in DIVIDENDS if asked["from"] <= row["date"] <= asked["to"]
        ][:1_000],
    }
    symbols = ["AAPL", *(f"S{number}" for number in range(100))]
    found = source.get_actions(symbols, date(2014, 1, 2), LAST)
    days = [action.on for action in found.actions if action.kind is ActionKind.SPLIT]
    assert days == [date(2014, 6, 9), date(2014, 1, 2)]
    paid = [action.on for action in found.actions if action.kind is ActionKind.DIVIDEND]
    assert paid == [date(2014, 6, 30 - number) for number in range(10)]
    assert len(lists.asked("splits-calendar")) == 3
    assert [asked["to"] for asked in lists.asked("dividends-calendar")][:3] == [
        "2014-06-30",
        "2014-06-28",
        "2014-06-26",
    ]
    assert lists.asked("splits") == lists.asked("dividends") == []


def back(day: str) -> str:
    return (date.fromisoformat(day) - timedelta(days=89)).isoformat()


#: 400 rows on each of ten days, the newest first; only the last of a day is of a symbol asked for.
DIVIDENDS = [
    dividend(f"2014-06-{30 - number}", symbol="AAPL" if row == 399 else "STRANGER", paymentDate="2014-07-15")
    for number in range(10)
    for row in range(400)
]


def test_a_day_that_does_not_fit_is_not_believed(lists: Lists, source: FMPCorporateActions) -> None:
    lists.of = {"dividends-calendar": [dividend("2014-06-30", symbol="STRANGER")] * 3_000}
    with pytest.raises(
        MarketDataUnavailableError, match="more dividends on 2014-06-30 than it tells at once"
    ):
        source.get_actions([f"S{number}" for number in range(100)], FIRST, LAST)


def test_where_the_plan_has_no_calendar_each_symbol_is_asked_for(
    lists: Lists, source: FMPCorporateActions
) -> None:
    lists.of = {"splits-calendar": GATED, "dividends-calendar": GATED, "splits": [split()]}
    found = source.get_actions(["AAPL", "IBM", "MSFT"], date(2014, 6, 9), date(2014, 6, 10))
    assert [action.symbol for action in found.actions] == ["AAPL"]
    assert [asked["symbol"] for asked in lists.asked("dividends")] == ["AAPL", "IBM", "MSFT"]


def test_delistings_are_read_page_by_page_as_far_as_the_plan_goes(
    lists: Lists, source: FMPCorporateActions
) -> None:
    page = [{"symbol": f"S{number}", "delistedDate": "2014-06-20"} for number in range(100)]
    lists.of = {"delisted-companies": lambda asked: page if asked["page"] == "0" else []}
    assert len(source.get_actions(["S7"], FIRST, LAST).untold) == 1
    assert [asked["page"] for asked in lists.asked("delisted-companies")] == ["0", "1"]
    lists.of = {"delisted-companies": lambda _: page}
    assert source.get_actions(["AAPL"], FIRST, LAST).untold == [
        "Delistings from before 2014-06-20 were not read. FMP's list is long, and 10 pages were read."
    ]


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (
            Reply(401, json={"Error Message": "Invalid API KEY."}),
            MarketDataNotAuthorizedError,
            "set FMP_API_KEY",
        ),
        (Reply(429, json={"Error Message": "Limit Reach ."}), MarketDataUnavailableError, "limit is reached"),
        (Reply(json={"Error Message": "Limit Reach ."}), MarketDataUnavailableError, "limit is reached"),
        (Reply(text=f"<html>{KEY}"), MarketDataUnavailableError, "not JSON"),
        (GATED, MarketDataNotAuthorizedError, "larger plan"),
    ],
)
def test_an_answer_that_is_none_is_an_error_without_the_key(
    lists: Lists, source: FMPCorporateActions, reply: Reply, error: type[Exception], said: str
) -> None:
    lists.of = {"dividends": reply}
    with pytest.raises(error, match=said) as failed:
        source.get_actions(["AAPL"], FIRST, LAST)
    assert KEY not in str(failed.value)
