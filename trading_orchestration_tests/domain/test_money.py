"""Amounts are Decimals on a grid of nine places, rounded as PostgreSQL rounds NUMERIC."""

import ast
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from trading_orchestration.domain import money
from trading_orchestration.domain.money import (
    QUANTUM,
    is_on_grid,
    parse_amount,
    plain,
    product,
    rounded,
    truncated,
    whole,
)
from trading_orchestration.errors import InvalidInputError, LedgerError

# numeric(20,9) at its widest: eleven digits before the point, nine after it.
on_grid = st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-9, money.EXACT))
any_decimal = st.decimals(
    min_value=Decimal("-1e11"), max_value=Decimal("1e11"), allow_nan=False, allow_infinity=False
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        # SELECT round(x::numeric, 9) in PostgreSQL: halves go away from zero.
        ("0.0000000005", "0.000000001"),
        ("-0.0000000005", "-0.000000001"),
        ("0.0000000015", "0.000000002"),
        ("0.00000000049999999", "0"),
        ("2.5000000025", "2.500000003"),
        ("-2.5000000025", "-2.500000003"),
    ],
)
def test_halves_are_rounded_away_from_zero(value: str, expected: str) -> None:
    assert rounded(Decimal(value)) == Decimal(expected)


def test_rounding_never_leaves_a_negative_zero() -> None:
    assert str(rounded(Decimal("-1e-12"))) == "0E-9"
    assert str(truncated(Decimal("-9e-10"))) == "0E-9"
    assert str(whole(Decimal("-0.5"))) == "0"


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_never_enters_the_ledger(value: str) -> None:
    with pytest.raises(LedgerError, match="finite"):
        rounded(Decimal(value))
    assert not is_on_grid(Decimal(value))


@settings(deadline=None)
@given(any_decimal)
def test_rounding_is_the_nearest_point_and_truncation_the_one_towards_zero(value: Decimal) -> None:
    assert abs(Fraction(rounded(value)) - Fraction(value)) <= Fraction(QUANTUM) / 2
    assert 0 <= abs(Fraction(value)) - abs(Fraction(truncated(value))) < Fraction(QUANTUM)


@settings(deadline=None)
@given(any_decimal)
def test_what_is_rounded_is_on_the_grid_and_stays(value: Decimal) -> None:
    assert is_on_grid(rounded(value))
    assert rounded(rounded(value)) == rounded(value)


@settings(deadline=None)
@given(on_grid, on_grid)
def test_a_product_is_rounded_once_from_its_exact_value(first: Decimal, second: Decimal) -> None:
    """Two numbers of 20 digits make one of 40; Python's default context would round it at 28 first."""
    exact = Fraction(first) * Fraction(second) * 10**9
    nearest = int(abs(exact) + Fraction(1, 2)) * (1 if exact >= 0 else -1)
    assert Fraction(product(first, second)) * 10**9 == nearest


def test_a_product_is_not_rounded_twice() -> None:
    """The exact product ends in …350131664|499996610; cut to 28 digits first it would be …664|5, a tie."""
    assert product(Decimal("2028596.998212830"), Decimal("10353568.794593967")) == Decimal(
        "21003218577503.350131664"
    )


def test_postgresql_rounds_the_same_products_to_the_same_digits(engine: sa.Engine) -> None:
    """Also ties: a quantity of half steps times a price of few digits ends in a 5 at the tenth place."""
    random = Random(20240703)
    pairs = [(random.randrange(-(10**20), 10**20), random.randrange(10**20)) for _ in range(1000)]
    pairs += [(random.randrange(-(10**12), 10**12), 5 * 10**8) for _ in range(1000)]
    factors = [(Decimal(a).scaleb(-9), Decimal(b).scaleb(-9)) for a, b in pairs]
    with engine.connect() as connection:
        rounded_there = connection.execute(
            sa.text(
                "SELECT round(a * b, 9) FROM unnest(CAST(:a AS numeric[]), CAST(:b AS numeric[])) "
                "WITH ORDINALITY AS pair (a, b, number) ORDER BY number"
            ),
            {"a": [a for a, _ in factors], "b": [b for _, b in factors]},
        ).scalars()
        assert [product(a, b) for a, b in factors] == list(rounded_there)


@pytest.mark.parametrize(
    ("value", "expected"), [("10", "10"), ("0.999999999", "0"), ("7.5", "7"), ("-7.5", "-7")]
)
def test_whole_drops_the_fraction(value: str, expected: str) -> None:
    assert whole(Decimal(value)) == Decimal(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000.50", "1000.50"),
        (" 25 ", "25"),
        ("-3", "-3"),
        ("+0.000000001", "0.000000001"),
        ("00000000000000000012", "12"),
        ("99999999999.999999999", "99999999999.999999999"),
    ],
)
def test_plain_numbers_are_read_exactly(text: str, expected: str) -> None:
    assert parse_amount(text, what="The deposit") == Decimal(expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "abc",
        "10k",
        "1e3",
        "NaN",
        "inf",
        "-Infinity",
        "1,000",
        "1_000",
        "1 000",
        "1'000",
        ".5",
        "5.",
        "0x10",
        "--1",
        "١٢",
        "1\n2",
        "1.2.3",
    ],
)
def test_what_is_not_a_plain_number_is_refused_with_the_mend(text: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse_amount(text, what="The deposit")
    assert str(refused.value).startswith(
        f"The deposit was {text!r}, which is not a plain number; write digits"
    )


def test_more_than_nine_places_are_refused() -> None:
    with pytest.raises(
        InvalidInputError, match=r"The price was '1\.0000000001', which has 10 decimal places"
    ):
        parse_amount("1.0000000001", what="The price")


def test_more_than_the_database_holds_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="more than 11 digits before the point"):
        parse_amount("100000000000", what="The deposit")


@settings(deadline=None)
@given(on_grid)
def test_a_plain_text_is_read_back_as_the_same_amount(value: Decimal) -> None:
    assert parse_amount(plain(value), what="x") == value


@pytest.mark.parametrize(
    ("value", "expected"),
    [("10.000000000", "10"), ("0.500000000", "0.5"), ("100", "100"), ("1E+2", "100"), ("-0.000000000", "0")],
)
def test_plain_shows_no_exponent_and_no_trailing_zeros(value: str, expected: str) -> None:
    assert plain(Decimal(value)) == expected


@pytest.mark.parametrize("module", ["money", "position", "portfolio", "risk", "reconciliation", "alert"])
def test_no_float_takes_part_in_the_arithmetic_of_money(module: str) -> None:
    """No float literal and no conversion; the one `float` is the score by which signals are ordered."""
    source = Path(money.__file__).with_name(f"{module}.py").read_text(encoding="utf-8")
    nodes = list(ast.walk(ast.parse(source)))
    assert not [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, float)]
    calls = [n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    assert "float" not in calls
