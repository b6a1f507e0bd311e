"""Which orders the paper broker refuses, and how much cash it holds back."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.order_acceptance import (
    Circumstances,
    RefusalReason,
    malformed,
    refusal,
    unit_reserve,
)
from trading_orchestration.domain.trade import OrderTerms, OrderType, Side, TimeInForce

SETTINGS = PaperSettings()
SHORTING = PaperSettings(allow_short=True)
KNOWN = Circumstances(
    is_client_order_id_taken=False,
    is_symbol_known=True,
    is_tradable=True,
    is_fractionable=True,
    last_price=Decimal(100),
    priced_at=datetime(2024, 7, 2, 14, 0, tzinfo=UTC),
    held_quantity=Decimal(10),
    average_entry_price=Decimal(90),
    selling_quantity=Decimal(4),
    buying_quantity=Decimal(0),
    buying_power=Decimal(1_000),
)
BUY = OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(10))
SELL = replace(BUY, side=Side.SELL, quantity=Decimal(6))
LIMIT_BUY = replace(BUY, order_type=OrderType.LIMIT, limit_price=Decimal(100))


def reason(terms: OrderTerms, settings: PaperSettings = SETTINGS, **changes: Any) -> RefusalReason | None:
    refused = refusal("id-1", terms, replace(KNOWN, **changes), settings)
    return refused.reason if refused else None


def test_what_can_be_paid_and_delivered_is_taken():
    assert reason(BUY) is None
    assert reason(SELL) is None
    assert reason(replace(LIMIT_BUY, time_in_force=TimeInForce.GTC)) is None


@pytest.mark.parametrize(
    ("terms", "expected"),
    [
        pytest.param(replace(BUY, quantity=Decimal(0)), "bad_terms", id="no quantity"),
        pytest.param(replace(BUY, quantity=Decimal("NaN")), "bad_terms", id="not a number"),
        pytest.param(replace(BUY, quantity=Decimal("1e-10")), "bad_terms", id="ten places"),
        pytest.param(replace(BUY, quantity=Decimal(10) ** 11), "bad_terms", id="past the column"),
        pytest.param(replace(BUY, order_type=OrderType.LIMIT), "bad_terms", id="limit without one"),
        pytest.param(replace(BUY, limit_price=Decimal(100)), "bad_terms", id="market with a limit"),
        pytest.param(replace(LIMIT_BUY, limit_price=Decimal(0)), "bad_terms", id="limit of nothing"),
        pytest.param(replace(LIMIT_BUY, stop_price=Decimal(99)), "bad_terms", id="limit with a stop"),
        pytest.param(replace(LIMIT_BUY, limit_price=Decimal("99.001")), "sub_penny_price", id="sub-penny"),
        pytest.param(
            replace(LIMIT_BUY, limit_price=Decimal("1.0001")), "sub_penny_price", id="from a dollar"
        ),
        pytest.param(
            replace(LIMIT_BUY, limit_price=Decimal("0.00001")), "sub_penny_price", id="below a dollar"
        ),
        pytest.param(
            replace(LIMIT_BUY, limit_price=Decimal("0.9999")), None, id="four places below a dollar"
        ),
        pytest.param(
            replace(BUY, quantity=Decimal("10.01")), "insufficient_buying_power", id="a cent too much"
        ),
        pytest.param(
            replace(SELL, quantity=Decimal("6.000000001")), "insufficient_quantity", id="dust too much"
        ),
        pytest.param(
            replace(LIMIT_BUY, quantity=Decimal("1.5"), time_in_force=TimeInForce.GTC),
            "fraction_needs_day",
            id="fraction that lasts",
        ),
    ],
)
def test_terms_that_cannot_be_are_refused_by_reason(terms: OrderTerms, expected: str | None):
    assert reason(terms) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_symbol_known": False, "is_tradable": False}, "unknown_symbol"),
        ({"last_price": None, "priced_at": None}, "unknown_symbol"),
        ({"is_tradable": False}, "not_tradable"),
        ({"is_fractionable": False}, "not_fractionable"),
    ],
)
def test_symbols_that_cannot_be_traded_so_are_refused_by_reason(changes: dict[str, Any], expected: str):
    assert reason(replace(BUY, quantity=Decimal("1.5")), **changes) == expected


def test_a_taken_id_is_the_first_reason():
    bad_in_every_way = replace(BUY, quantity=Decimal(-1), limit_price=Decimal("0.00001"))
    assert reason(bad_in_every_way, is_client_order_id_taken=True, is_symbol_known=False) == (
        "duplicate_client_order_id"
    )


@pytest.mark.parametrize("client_order_id", ["", "x" * 129, "nul\x00", "line\nbreak"])
def test_ids_that_cannot_be_kept_are_refused_at_sight(client_order_id: str):
    refused = malformed(client_order_id, BUY)
    assert refused is not None
    assert refused.reason is RefusalReason.BAD_CLIENT_ORDER_ID
    assert "\n" not in refused.sentence


def test_a_symbol_that_cannot_be_looked_up_is_refused_at_sight():
    refused = malformed("id-1", replace(BUY, symbol="A\x00"))
    assert refused is not None
    assert refused.reason is RefusalReason.UNKNOWN_SYMBOL
    assert malformed("x" * 128, BUY) is None


def test_a_refusal_names_what_was_asked_and_what_there_is():
    refused = refusal("id-1", replace(SELL, quantity=Decimal("6.5")), KNOWN, SETTINGS)
    assert refused is not None
    assert "requested: 6.5, available: 6)" in refused.sentence
    refused = refusal("id-1", replace(BUY, quantity=Decimal(11)), KNOWN, SETTINGS)
    assert refused is not None
    assert "buying_power: 1000, cost_basis: 1100)" in refused.sentence


# What is held back ─────────────────────────────────────────────────────────────────────────────────────

STOP_BUY = replace(BUY, order_type=OrderType.STOP, stop_price=Decimal(110))
COSTLY = PaperSettings(commission=Commission(per_order=Decimal(5)), slippage_bps=Decimal(100))


@pytest.mark.parametrize(
    ("terms", "settings", "reserve"),
    [
        pytest.param(BUY, SETTINGS, "100", id="market: the last price"),
        pytest.param(replace(LIMIT_BUY, limit_price=Decimal(90)), SETTINGS, "90", id="limit: the limit"),
        pytest.param(
            replace(LIMIT_BUY, limit_price=Decimal(120)), SETTINGS, "120", id="limit above the price"
        ),
        pytest.param(STOP_BUY, SETTINGS, "110", id="stop: the stop"),
        pytest.param(replace(STOP_BUY, stop_price=Decimal(90)), SETTINGS, "100", id="stop below the price"),
        pytest.param(
            replace(STOP_BUY, order_type=OrderType.STOP_LIMIT, limit_price=Decimal(112)),
            SETTINGS,
            "112",
            id="stop-limit: the limit",
        ),
        pytest.param(BUY, COSTLY, "101.5", id="slippage, and the fee over ten units"),
        pytest.param(LIMIT_BUY, COSTLY, "100.5", id="no slippage on a limit"),
        pytest.param(replace(BUY, quantity=Decimal(3)), COSTLY, "102.666666666", id="rounded down"),
        pytest.param(SELL, COSTLY, "0", id="a sale of what is held"),
        pytest.param(replace(SELL, quantity=Decimal(16)), SHORTING, "31.25", id="half of what goes short"),
    ],
)
def test_the_cash_held_back_covers_the_order(terms: OrderTerms, settings: PaperSettings, reserve: str):
    assert unit_reserve(terms, KNOWN, settings) == Decimal(reserve)


def test_a_short_sale_needs_the_setting_and_half_its_value():
    short = replace(SELL, quantity=Decimal(26))
    assert reason(short) is RefusalReason.INSUFFICIENT_QUANTITY
    assert reason(short, SHORTING) is None
    assert reason(replace(short, quantity=Decimal(27)), SHORTING) is RefusalReason.INSUFFICIENT_BUYING_POWER


def test_buying_a_short_back_needs_no_cash():
    short = {"held_quantity": Decimal(-10), "selling_quantity": Decimal(0), "buying_power": Decimal(0)}
    assert reason(BUY, SHORTING, **short) is None
    assert reason(replace(BUY, quantity=Decimal(11)), SHORTING, **short) == "insufficient_buying_power"
    assert reason(BUY, SHORTING, **short, buying_quantity=Decimal(1)) == "insufficient_buying_power"
