"""When a price alert fires, and what it says."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.alert import Alert, AlertCondition, describe, is_triggered
from trading_orchestration.errors import InvalidInputError

prices = st.integers(1, 10**14).map(lambda n: Decimal(n).scaleb(-9))


def alert(condition: str, threshold: str, reference: str | None = None) -> Alert:
    return Alert(
        id=1,
        symbol="AAPL",
        condition=AlertCondition(condition),
        threshold=Decimal(threshold),
        reference_price=None if reference is None else Decimal(reference),
    )


@pytest.mark.parametrize(
    ("watch", "price", "fires"),
    [
        (alert("above", "190"), "189.999999999", False),
        (alert("above", "190"), "190", True),
        (alert("above", "190"), "200", True),
        (alert("below", "190"), "190.000000001", False),
        (alert("below", "190"), "190", True),
        (alert("below", "190"), "180", True),
        (alert("percent_change", "0.05", "200"), "209.999999999", False),
        (alert("percent_change", "0.05", "200"), "210", True),  # 200 × 1.05
        (alert("percent_change", "0.05", "200"), "190", True),  # 200 × 0.95
        (alert("percent_change", "0.05", "200"), "190.000000001", False),
        (alert("percent_change", "0.1", "3"), "3.3", True),  # 3.3 / 3 − 1 is a hair off in floats
        (alert("percent_change", "1.5", "10"), "25", True),
    ],
)
def test_an_alert_fires_from_its_threshold_on(watch: Alert, price: str, fires: bool) -> None:
    assert is_triggered(watch, Decimal(price)) is fires


@settings(deadline=None)
@given(prices, prices)
def test_above_or_below_or_both_at_the_threshold(threshold: Decimal, price: Decimal) -> None:
    above = is_triggered(alert("above", str(threshold)), price)
    below = is_triggered(alert("below", str(threshold)), price)
    assert (above, below) == (price >= threshold, price <= threshold)


@settings(deadline=None)
@given(prices, prices, st.integers(1, 3 * 10**9).map(lambda n: Decimal(n).scaleb(-9)))
def test_a_percent_change_is_exact_either_way(reference: Decimal, price: Decimal, threshold: Decimal) -> None:
    exact = abs(Fraction(price) / Fraction(reference) - 1) >= Fraction(threshold)
    assert is_triggered(alert("percent_change", str(threshold), str(reference)), price) is exact


@pytest.mark.parametrize(
    ("watch", "price", "sentence"),
    [
        (alert("above", "190"), "191.500000000", "AAPL is at 191.5, which is at or above the alert's 190."),
        (alert("below", "190"), "190", "AAPL is at 190, which is at or below the alert's 190."),
        (
            alert("percent_change", "0.05", "200"),
            "189",  # 189 / 200 − 1 = −0.055
            "AAPL is at 189, a change of -5.50% from 200; the alert was set for 5 % either way.",
        ),
    ],
)
def test_an_alert_is_described_in_one_sentence(watch: Alert, price: str, sentence: str) -> None:
    assert describe(watch, Decimal(price)) == sentence


@pytest.mark.parametrize(
    ("condition", "threshold", "reference", "message"),
    [
        ("above", "0", None, "The threshold of an alert on AAPL was 0; give a number above 0."),
        ("below", "-1", None, "The threshold of an alert on AAPL was -1; give a number above 0."),
        ("above", "NaN", None, "The threshold of an alert on AAPL was NaN; give a number above 0."),
        ("above", "Infinity", None, "The threshold of an alert on AAPL was Infinity; give a number above 0."),
        (
            "above",
            "1",
            "5",
            "An alert 'above' on AAPL had the reference price 5; give one for percent_change",
        ),
        ("percent_change", "1", None, "An alert 'percent_change' on AAPL had the reference price None; give"),
        ("percent_change", "1", "0", "The reference price of an alert on AAPL was 0; give a price above 0."),
    ],
)
def test_an_alert_that_cannot_be_is_refused(
    condition: str, threshold: str, reference: str | None, message: str
) -> None:
    with pytest.raises(InvalidInputError) as refused:
        alert(condition, threshold, reference)
    assert message in str(refused.value)
