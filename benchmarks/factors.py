"""Factors of 1,000 symbols on 250 bars each, beside TA-Lib alone over the same arrays."""

from collections.abc import Callable
from statistics import median

import numpy as np
import talib
from numpy.typing import NDArray

from benchmarks.measure import Figure, median_s
from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.strategy import evaluate, parse_definition

SYMBOLS, BARS, ROUNDS = 1_000, 250, 7
DEFINITION = {
    "name": "three",
    "universe": [f"S{number:04d}" for number in range(SYMBOLS)],
    "factors": [{"name": "moving_average_crossover"}, {"name": "rsi"}, {"name": "macd"}],
    "buy_threshold": 0.3,
    "sell_threshold": -0.3,
    "sizing": {"percent": 1},
}


def run() -> list[Figure]:
    """Signals of one strategy with three factors, in turn with the bare indicators; medians."""
    chance = np.random.default_rng(7)
    closes = 100 * np.exp(np.cumsum(chance.normal(0, 0.02, (SYMBOLS, BARS)), axis=1))
    definition = parse_definition(DEFINITION)
    histories = {
        symbol: PriceHistory(closes=row, highs=row, lows=row, volumes=row)
        for symbol, row in zip(definition.universe, closes, strict=True)
    }
    evaluate(definition, histories)
    bare, ours = _in_turn(lambda: _talib(closes), lambda: evaluate(definition, histories))
    return [
        Figure("factors: TA-Lib alone, 1,000 symbols × 250 bars × 3", bare * 1000, "ms"),
        Figure("factors: signals of a strategy with the same three", ours * 1000, "ms"),
        Figure("  in times of the former", ours / bare, "×", "≤ 3"),
    ]


def _in_turn(first: Callable[[], object], second: Callable[[], object]) -> tuple[float, float]:
    """The medians of both, whose rounds meet the same machine."""
    rounds = [(median_s(first, rounds=1), median_s(second, rounds=1)) for _ in range(ROUNDS)]
    return median(a for a, _ in rounds), median(b for _, b in rounds)


def _talib(closes: NDArray[np.float64]) -> None:
    for row in closes:
        talib.SMA(row, 20)
        talib.SMA(row, 50)
        talib.RSI(row, 14)
        talib.MACD(row, 12, 26, 9)
