"""Factors against references written here from their definitions, and the properties all of them share.

The references are plain Python loops that follow the sources named in each factor's file; they share nothing
with TA-Lib.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trading_orchestration.domain import factors
from trading_orchestration.domain.factors import PriceHistory, factor_names, load_factor, saturate
from trading_orchestration.errors import InvalidInputError

NAMES = ("macd", "mean_reversion", "momentum", "moving_average_crossover", "rsi")


def history(closes: Sequence[float]) -> PriceHistory:
    array = np.array(closes, dtype=np.float64)
    return PriceHistory(closes=array, highs=array, lows=array, volumes=np.ones_like(array))


def wave(bars: int, *, seed: int = 7) -> list[float]:
    """A random walk around 100, the same on every machine."""
    steps = np.random.default_rng(seed).normal(0.0005, 0.015, bars)
    return [float(close) for close in 100 * np.exp(np.cumsum(steps))]


def score(name: str, closes: Sequence[float], **parameters: Any) -> float | None:
    factor = load_factor(name)
    return factor.score(history(closes), factor.Parameters(**parameters))


def clipped(value: float) -> float:
    return max(-1.0, min(1.0, value))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def reference_crossover(closes: Sequence[float], fast: int, slow: int, saturation: float) -> float:
    gap = mean(closes[-fast:]) / mean(closes[-slow:]) - 1
    return clipped(gap / saturation)


def reference_rsi(closes: Sequence[float], period: int) -> float:
    """Wilder 1978: the first average is a plain mean, each later one moves by 1/period."""
    moves = [after - before for before, after in pairwise(closes)]
    gain = mean([max(move, 0) for move in moves[:period]])
    loss = mean([max(-move, 0) for move in moves[:period]])
    for move in moves[period:]:
        gain += (max(move, 0) - gain) / period
        loss += (max(-move, 0) - loss) / period
    return 100 * gain / (gain + loss)


def ema(values: Sequence[float], length: int) -> list[float]:
    """Exponential average seeded with the plain mean of its first `length` values."""
    averages = [mean(values[:length])]
    for value in values[length:]:
        averages.append(averages[-1] + 2 / (length + 1) * (value - averages[-1]))
    return averages


def reference_macd(closes: Sequence[float], fast: int, slow: int, signal: int, saturation: float) -> float:
    slow_line = ema(closes, slow)
    fast_line = ema(closes[slow - fast :], fast)
    line = [quick - steady for quick, steady in zip(fast_line, slow_line, strict=True)]
    return clipped((line[-1] - ema(line, signal)[-1]) / closes[-1] / saturation)


def reference_z(closes: Sequence[float], period: int) -> float:
    window = closes[-period:]
    centre = mean(window)
    deviation = mean([(close - centre) ** 2 for close in window]) ** 0.5
    return float((closes[-1] - centre) / deviation)


@pytest.mark.parametrize("seed", range(5))
def test_the_crossover_is_the_gap_between_two_means(seed: int) -> None:
    closes = wave(60, seed=seed)
    expected = reference_crossover(closes, 10, 50, 0.2)
    assert score("moving_average_crossover", closes, fast=10, slow=50, saturation=0.2) == pytest.approx(
        expected, abs=1e-12
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_rsi_is_wilders(seed: int) -> None:
    closes = wave(99, seed=seed)
    expected = clipped((50 - reference_rsi(closes, 14)) / 45)
    result = score("rsi", closes, period=14, oversold=5, overbought=95)
    assert result == pytest.approx(expected, abs=1e-9)


def test_the_rsi_of_wilders_textbook_prices() -> None:
    """StockCharts' worked example of the RSI (QQQQ, 15 closes): 70.53 after the first 14 moves."""
    closes = [
        44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
        46.0328, 45.6140, 46.2820, 46.2820,
    ]  # fmt: skip
    assert reference_rsi(closes, 14) == pytest.approx(70.53, abs=0.005)


@pytest.mark.parametrize("seed", range(5))
def test_macd_is_appels_with_means_as_seeds(seed: int) -> None:
    closes = wave(165, seed=seed)
    expected = reference_macd(closes, 12, 26, 9, 0.05)
    assert score("macd", closes, saturation=0.05) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_macds_seed_has_faded_by_the_end_of_its_warm_up(seed: int) -> None:
    """Ten times the history and the same formula give nearly the same: the pinned window loses nothing."""
    closes = wave(1650, seed=seed)
    expected = reference_macd(closes, 12, 26, 9, 0.05)
    assert score("macd", closes, saturation=0.05) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_mean_reversion_is_the_negative_z_score(seed: int) -> None:
    closes = wave(25, seed=seed)
    expected = clipped(-reference_z(closes, 20) / 5)
    assert score("mean_reversion", closes, period=20, saturation=5) == pytest.approx(expected, abs=1e-9)


def test_mean_reversion_is_exact_where_moves_are_tiny_against_the_price() -> None:
    closes = [700_000 + step for step in (0.0, 0.01, 0.02, 0.01, 0.03)]
    expected = clipped(-reference_z([0.0, 0.01, 0.02, 0.01, 0.03], 5) / 5)
    assert score("mean_reversion", closes, period=5, saturation=5) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"lookback": 2, "saturation": 1}, 0.21),
        ({"lookback": 1, "skip": 1, "saturation": 1}, 0.1),
        ({"lookback": 1, "saturation": 0.05}, 1.0),
    ],
)
def test_momentum_is_the_return_over_the_lookback(parameters: dict[str, float], expected: float) -> None:
    assert score("momentum", [100, 110, 121], **parameters) == pytest.approx(expected)


def test_the_folder_is_the_registry() -> None:
    assert factor_names() == NAMES


def test_a_new_file_is_a_new_factor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(factors.__file__).with_name("momentum.py").read_text()
    (tmp_path / "drift.py").write_text(source)
    monkeypatch.setattr(factors, "__path__", [*factors.__path__, str(tmp_path)])
    factor_names.cache_clear()
    try:
        assert "drift" in factor_names()
        assert score("drift", [100, 110, 121], lookback=2, saturation=1) == pytest.approx(0.21)
    finally:
        factor_names.cache_clear()
        load_factor.cache_clear()


@pytest.mark.parametrize("name", ["momentun", "__init__", "../rsi", "os"])
def test_an_unknown_factor_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InvalidInputError, match="known: macd, mean_reversion, momentum"):
        load_factor(name)


def test_a_misspelt_factor_is_recognised() -> None:
    with pytest.raises(InvalidInputError, match=r"did you mean 'momentum'\?"):
        load_factor("momentun")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("parameters", [{"no_such_parameter": 1}])
def test_an_unknown_parameter_is_refused(name: str, parameters: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match="no_such_parameter"):
        load_factor(name).Parameters(**parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("moving_average_crossover", {"fast": 50, "slow": 50}),
        ("moving_average_crossover", {"fast": 1}),
        ("moving_average_crossover", {"slow": 1001}),
        ("moving_average_crossover", {"saturation": float("nan")}),
        ("rsi", {"period": 14.5}),
        ("rsi", {"period": True}),
        ("rsi", {"oversold": 70, "overbought": 30}),
        ("macd", {"fast": 30}),
        ("macd", {"signal": 0}),
        ("momentum", {"lookback": 0}),
        ("momentum", {"skip": -1}),
        ("mean_reversion", {"period": "20"}),
    ],
)
def test_a_parameter_out_of_bounds_is_refused(name: str, parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load_factor(name).Parameters(**parameters)


@pytest.mark.parametrize(
    ("name", "bars"),
    [("moving_average_crossover", 50), ("rsi", 99), ("macd", 165), ("momentum", 61), ("mean_reversion", 20)],
)
def test_a_score_begins_with_the_last_bar_of_its_warm_up(name: str, bars: int) -> None:
    factor = load_factor(name)
    assert factor.warm_up(factor.Parameters()) == bars
    assert score(name, wave(bars - 1)) is None
    assert score(name, wave(bars)) is not None
    assert score(name, []) is None


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", NAMES)
def test_a_longer_history_changes_no_bit_of_a_score(name: str, seed: int) -> None:
    unsaturated = {} if name == "rsi" else {"saturation": 1}
    closes = wave(400, seed=seed)
    factor = load_factor(name)
    bars = factor.warm_up(factor.Parameters(**unsaturated))
    assert score(name, closes, **unsaturated) == score(name, closes[-bars:], **unsaturated)


@pytest.mark.parametrize("name", NAMES)
def test_a_score_leaves_the_history_as_it_is(name: str) -> None:
    closes = wave(200)
    before = history(closes)
    load_factor(name).score(before, load_factor(name).Parameters())
    assert before.closes.tolist() == closes


@pytest.mark.parametrize(
    ("name", "expected"),
    [("moving_average_crossover", 0), ("rsi", None), ("macd", 0), ("momentum", 0), ("mean_reversion", None)],
)
@pytest.mark.parametrize("price", [0.1, 10.1, 123_456.789])
def test_prices_that_never_move_are_neutral_or_undefined(
    name: str, expected: float | None, price: float
) -> None:
    sign_only = {} if name == "rsi" else {"saturation": 0}
    assert score(name, [price] * 200, **sign_only) == expected


def rising(bars: int) -> list[float]:
    return [100 * 1.01**bar for bar in range(bars)]


@pytest.mark.parametrize(
    ("name", "sign"),
    [("moving_average_crossover", 1), ("momentum", 1), ("rsi", -1), ("mean_reversion", -1)],
)
def test_trend_factors_buy_what_rises_and_contrarian_factors_sell_it(name: str, sign: int) -> None:
    up, down = score(name, rising(200)), score(name, rising(200)[::-1])
    assert up is not None
    assert down is not None
    assert up * sign > 0
    assert down * sign < 0


def test_macd_buys_a_trend_that_gains_speed() -> None:
    gaining = [100 + 0.01 * bar**2 for bar in range(200)]
    result = score("macd", gaining)
    assert result is not None
    assert result > 0


def test_rsi_is_oversold_at_its_most_when_everything_fell() -> None:
    """TA-Lib answers 0 for this as for prices that never moved; the two must not be confused."""
    assert score("rsi", rising(200)[::-1]) == 1


@given(
    name=st.sampled_from(NAMES),
    prices=st.lists(st.floats(0.01, 1e6), min_size=1, max_size=12),
    bars=st.integers(0, 130),
)
def test_every_score_is_undefined_or_within_its_range(name: str, prices: list[float], bars: int) -> None:
    result = score(name, (prices * bars)[:bars])
    assert result is None or -1 <= result <= 1


@given(value=st.floats(-1e9, 1e9), saturation=st.floats(0, 1e6))
def test_a_saturated_value_keeps_its_sign_and_its_bounds(value: float, saturation: float) -> None:
    result = saturate(value, saturation)
    assert -1 <= result <= 1
    assert result == 0 or (result > 0) == (value > 0)


@pytest.mark.parametrize(
    ("value", "saturation", "expected"),
    [(0.1, 0.2, 0.5), (-0.3, 0.2, -1), (0.3, 0, 1), (-0.3, 0, -1), (0, 0, 0), (1e-15, 0, 0)],
)
def test_saturation_is_linear_up_to_its_limit(value: float, saturation: float, expected: float) -> None:
    assert saturate(value, saturation) == pytest.approx(expected)
