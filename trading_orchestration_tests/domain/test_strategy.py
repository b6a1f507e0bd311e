from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.job import JOB_DEFAULTS, JobType
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.domain.sizing import Sizing
from trading_orchestration.domain.strategy import (
    Action,
    StrategyDefinition,
    StrategyDefinitionError,
    evaluate,
    parse_definition,
    warm_up,
)
from trading_orchestration.errors import InvalidInputError

BASE: dict[str, Any] = {
    "name": "trend",
    "universe": ["AAPL", "MSFT"],
    "factors": [{"name": "momentum", "parameters": {"lookback": 2, "saturation": 1}}],
    "buy_threshold": 0.3,
    "sell_threshold": -0.3,
    "sizing": {"percent": 10},
}


def definition(**changes: Any) -> StrategyDefinition:
    return parse_definition({**BASE, **changes})


def refusal(**changes: Any) -> StrategyDefinitionError:
    with pytest.raises(StrategyDefinitionError) as refused:
        definition(**changes)
    return refused.value


def history(*closes: float) -> PriceHistory:
    array = np.array(closes, dtype=np.float64)
    return PriceHistory(closes=array, highs=array, lows=array, volumes=array)


def momentum(**parameters: Any) -> list[dict[str, Any]]:
    return [{"name": "momentum", "parameters": parameters}]


# ── Reading a definition ──


def test_a_definition_is_read_with_its_defaults() -> None:
    read = definition()
    assert (read.name, read.portfolio, read.timeframe) == ("trend", None, Timeframe.DAY)
    assert read.universe == ("AAPL", "MSFT")
    assert (read.factors[0].name, read.factors[0].weight) == ("momentum", 1)
    assert read.factors[0].parameters.model_dump() == {"lookback": 2, "skip": 0, "saturation": 1}
    assert read.sizing == Sizing(percent=Decimal(10), shares=None, fractional=False)


def test_a_definition_comes_back_from_its_json_as_it_was() -> None:
    read = definition(
        portfolio="growth",
        timeframe="minute",
        sizing={"shares": 1.25, "fractional": True},
        factors=[{"name": "rsi", "weight": 2.5}, *momentum(lookback=5)],
        trigger="cross",
        direction="both",
    )
    assert parse_definition(read.to_json()) == read


def test_a_number_of_shares_is_taken_as_it_is_written() -> None:
    assert definition(sizing={"shares": 0.1, "fractional": True}).sizing.shares == Decimal("0.1")


MISTAKES: list[tuple[dict[str, Any], tuple[str | int, ...], str]] = [
    ({"nam": "x"}, ("nam",), "nam is not a key here; known: buy_threshold,"),
    ({"nam": "x"}, ("nam",), "did you mean 'name'?"),
    ({"name": "My Trend"}, ("name",), "name was 'My Trend'; it should be 1 to 64 of a-z, 0-9, _ and -"),
    ({"name": "My Trend"}, ("name",), "did you mean 'my-trend'?"),
    ({"name": 7}, ("name",), "name was 7; it should be text; put it in quotes."),
    ({"universe": []}, ("universe",), "universe was []; it should have at least one entry."),
    ({"universe": "AAPL"}, ("universe",), "universe was 'AAPL'; it should be a list."),
    ({"universe": ["A", "msft"]}, ("universe", 1), "universe[1] was 'msft'; it should be a symbol in upper"),
    ({"universe": ["A", "msft"]}, ("universe", 1), "did you mean 'MSFT'?"),
    (
        {"universe": ["A", True]},
        ("universe", 1),
        "universe[1] was True; it should be text; put it in quotes.",
    ),
    ({"universe": ["A", "B", "A"]}, ("universe", 2), "universe[2] repeats 'A'; name it once."),
    ({"timeframe": "daily"}, ("timeframe",), "timeframe was 'daily'; it should be 'day' or 'minute'."),
    (
        {"buy_threshold": 1.5},
        ("buy_threshold",),
        "buy_threshold was 1.5; it should be less than or equal to 1.",
    ),
    ({"buy_threshold": "0.3"}, ("buy_threshold",), "buy_threshold was '0.3'; it should be a number."),
    ({"buy_threshold": float("nan")}, ("buy_threshold",), "was nan; it should be a finite number."),
    ({"sell_threshold": 0.3}, ("sell_threshold",), "should be less than buy_threshold, which is 0.3."),
    ({"factors": []}, ("factors",), "factors was []; it should have at least one entry."),
    ({"factors": ["rsi"]}, ("factors", 0), "factors[0] was 'rsi'; it should be a mapping of keys to values."),
    ({"factors": [{"weight": 1}]}, ("factors", 0, "name"), "factors[0].name is missing."),
    ({"factors": [{"name": "rsj"}]}, ("factors", 0, "name"), "factors[0].name was 'rsj'; known: macd,"),
    ({"factors": [{"name": "rsj"}]}, ("factors", 0, "name"), "did you mean 'rsi'?"),
    ({"factors": [{"name": "rsi"}] * 2}, ("factors", 1), "factors[1] repeats 'rsi'; name it once."),
    (
        {"factors": [{"name": "rsi", "weight": 0}]},
        ("factors", 0, "weight"),
        "factors[0].weight was 0; it should be greater than 0.",
    ),
    (
        {"factors": [{"name": "rsi", "wieght": 1}]},
        ("factors", 0, "wieght"),
        "factors[0].wieght is not a key here; known: name, parameters, weight; did you mean 'weight'?",
    ),
    (
        {"factors": momentum(lookbak=3)},
        ("factors", 0, "parameters", "lookbak"),
        "known: lookback, saturation, skip; did you mean 'lookback'?",
    ),
    (
        {"factors": momentum(lookback=0)},
        ("factors", 0, "parameters", "lookback"),
        "factors[0].parameters.lookback was 0; it should be greater than or equal to 1.",
    ),
    (
        {"factors": [{"name": "macd", "parameters": {"fast": 40}}]},
        ("factors", 0, "parameters"),
        "factors[0].parameters: fast (40) should be less than slow (26).",
    ),
    ({"sizing": {}}, ("sizing",), "sizing takes either percent or shares, one of the two."),
    ({"sizing": {"percent": 1, "shares": 1}}, ("sizing",), "sizing takes either percent or shares"),
    ({"sizing": {"percent": 101}}, ("sizing", "percent"), "it should be less than or equal to 100."),
    (
        {"sizing": {"percent": "ten"}},
        ("sizing", "percent"),
        "sizing.percent was 'ten'; it should be a number.",
    ),
    ({"sizing": {"shares": float("inf")}}, ("sizing", "shares"), "it should be a finite number."),
    ({"sizing": {"shares": 1.5}}, ("sizing",), "sizing.shares was 1.5, which is not whole; set fractional"),
    ({"sizing": {"percnt": 1}}, ("sizing", "percnt"), "did you mean 'percent'?"),
    ({"sizing": None}, ("sizing",), "sizing was None; it should be a mapping of keys to values."),
]


@pytest.mark.parametrize(("changes", "path", "sentence"), MISTAKES)
def test_a_mistake_is_told_with_its_key_its_value_and_what_is_allowed(
    changes: dict[str, Any], path: tuple[str | int, ...], sentence: str
) -> None:
    error = refusal(**changes)
    assert error.path == path
    assert sentence in str(error)


@pytest.mark.parametrize("key", ["name", "universe", "factors", "buy_threshold", "sell_threshold", "sizing"])
def test_a_key_that_must_be_there_is_missed(key: str) -> None:
    with pytest.raises(StrategyDefinitionError, match=f"^{key} is missing.$"):
        parse_definition({name: value for name, value in BASE.items() if name != key})


def test_a_misspelt_key_is_told_as_misspelt_and_not_as_missing() -> None:
    data = {("univers" if key == "universe" else key): value for key, value in BASE.items()}
    with pytest.raises(StrategyDefinitionError, match="did you mean 'universe'"):
        parse_definition(data)


@pytest.mark.parametrize("data", [None, [], "trend", 7])
def test_what_is_not_a_mapping_is_no_strategy(data: Any) -> None:
    with pytest.raises(StrategyDefinitionError, match="A strategy is a mapping"):
        parse_definition(data)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.dates()
keys = st.sampled_from(["name", "weight", "parameters", "percent", "shares", "fractional", "period"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from([*BASE, "timeframe", "portfolio"]), value=values)
def test_anything_is_read_or_refused_in_one_short_sentence(key: str, value: Any) -> None:
    outcome = read_or_refused({**BASE, key: value})
    if isinstance(outcome, StrategyDefinition):
        assert parse_definition(outcome.to_json()) == outcome
    else:
        assert len(outcome) < 500
        assert "\n" not in outcome


def read_or_refused(data: dict[str, Any]) -> StrategyDefinition | str:
    try:
        return parse_definition(data)
    except StrategyDefinitionError as error:
        return str(error)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"percent": Decimal(1), "shares": Decimal(1)},
        {"percent": Decimal(0)},
        {"percent": Decimal("100.01")},
        {"shares": Decimal(0)},
        {"shares": Decimal("Infinity"), "fractional": True},
        {"shares": Decimal("1.5")},
    ],
)
def test_a_size_that_makes_no_sense_is_refused(arguments: Mapping[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="sizing"):
        Sizing(**arguments)


# ── Evaluating ──


def test_the_warm_up_is_that_of_the_most_demanding_factor() -> None:
    assert warm_up(definition(factors=[*momentum(lookback=60), {"name": "rsi"}])) == 99


@pytest.mark.parametrize(
    ("last", "action"),
    [(130, Action.BUY), (129.99, Action.HOLD), (100, Action.HOLD), (70.01, Action.HOLD), (70, Action.SELL)],
)
def test_the_thresholds_belong_to_buying_and_selling(last: float, action: Action) -> None:
    signal = evaluate(definition(universe=["AAPL"]), {"AAPL": history(100, 100, last)})[0]
    assert signal.action is action
    assert signal.score == pytest.approx(last / 100 - 1)


def test_scores_are_weighted_and_the_weights_normalised() -> None:
    two = definition(
        universe=["AAPL"],
        factors=[
            {"name": "momentum", "weight": 30, "parameters": {"lookback": 2, "saturation": 1}},
            {
                "name": "moving_average_crossover",
                "weight": 10,
                "parameters": {"fast": 2, "slow": 3, "saturation": 0},
            },
        ],
    )
    signal = evaluate(two, {"AAPL": history(100, 90, 80)})[0]
    assert signal.factor_scores == {"momentum": -0.2, "moving_average_crossover": -1}
    assert signal.score == pytest.approx((3 * -0.2 + 1 * -1) / 4)
    assert signal.action is Action.SELL
    assert signal.reason == "Score -0.4000 ≤ -0.3."


def test_there_is_one_signal_for_each_symbol_in_the_universes_order() -> None:
    signals = evaluate(definition(), {"MSFT": history(1, 1, 2), "AAPL": history(2, 1, 1), "IBM": history(1)})
    assert [(signal.symbol, signal.action) for signal in signals] == [
        ("AAPL", Action.SELL),
        ("MSFT", Action.BUY),
    ]


@pytest.mark.parametrize("closes", [(), (100.0, 200.0)])
def test_a_history_that_is_too_short_holds_and_says_so(closes: tuple[float, ...]) -> None:
    signal = evaluate(definition(universe=["AAPL"]), {"AAPL": history(*closes)})[0]
    assert (signal.action, signal.score, signal.factor_scores) == (Action.HOLD, 0, {"momentum": None})
    assert signal.reason == f"Its history has {len(closes)} bars; the strategy needs 3."


def test_a_symbol_without_a_history_holds() -> None:
    signal = evaluate(definition(universe=["AAPL"]), {})[0]
    assert signal.action is Action.HOLD
    assert signal.reason == "Its history has 0 bars; the strategy needs 3."


def test_a_factor_that_is_undefined_holds_and_is_named() -> None:
    flat = {"AAPL": history(*[100.0] * 120)}
    with_rsi = definition(universe=["AAPL"], factors=[*momentum(lookback=2), {"name": "rsi"}])
    signal = evaluate(with_rsi, flat)[0]
    assert (signal.action, signal.score) == (Action.HOLD, 0)
    assert signal.factor_scores == {"momentum": 0, "rsi": None}
    assert signal.reason == "Undefined on its history: rsi."


def test_an_undefined_factor_never_buys_even_where_zero_would() -> None:
    eager = definition(universe=["AAPL"], factors=[{"name": "rsi"}], buy_threshold=-0.5, sell_threshold=-0.9)
    assert evaluate(eager, {"AAPL": history(*[100.0] * 120)})[0].action is Action.HOLD
    assert evaluate(eager, {})[0].action is Action.HOLD


@pytest.mark.parametrize("close", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_close_that_is_no_price_holds(close: float) -> None:
    signal = evaluate(definition(universe=["AAPL"]), {"AAPL": history(100, close, 150, 200)})[0]
    assert (signal.action, signal.reason) == (Action.HOLD, "Its history holds a close that is not a price.")


def test_scores_are_rounded_so_that_the_last_bits_decide_nothing() -> None:
    """0.1 + 0.2 is 0.30000000000000004 in binary; as a score it is 0.3."""
    signal = evaluate(definition(universe=["AAPL"]), {"AAPL": history(1, 1, 1 + 0.1 + 0.2)})[0]
    assert signal.score == 0.3
    assert signal.factor_scores["momentum"] == 0.3


def test_a_score_of_nothing_has_no_sign() -> None:
    signal = evaluate(definition(universe=["AAPL"]), {"AAPL": history(1, 1, 1 - 1e-11)})[0]
    assert str(signal.score) == "0.0"
    assert str(signal.factor_scores["momentum"]) == "0.0"


@given(
    closes=st.lists(st.floats(0.01, 1e5), min_size=3, max_size=30),
    buy=st.floats(-1, 1),
    sell=st.floats(-1, 1),
)
def test_an_action_follows_from_the_score_and_the_thresholds(
    closes: list[float], buy: float, sell: float
) -> None:
    if sell >= buy:
        return
    rules = definition(universe=["AAPL"], buy_threshold=buy, sell_threshold=sell)
    signal = evaluate(rules, {"AAPL": history(*closes)})[0]
    assert -1 <= signal.score <= 1
    expected = Action.BUY if signal.score >= buy else Action.SELL if signal.score <= sell else Action.HOLD
    assert signal.action is expected


# ── Crossing a threshold ──


@pytest.mark.parametrize(
    ("closes", "action"),
    [
        ((10, 10, 10, 12), Action.HOLD),  # the bar before is there; +20 % is below the threshold
        ((10, 10, 10, 14), Action.BUY),
        ((10, 10, 14, 14), Action.HOLD),  # so it was on the bar before
        ((14, 14, 14, 9), Action.SELL),
        ((14, 14, 9, 9), Action.HOLD),
        ((14, 10, 9, 14), Action.BUY),  # straight from the other side
        ((10, 10, 14), Action.HOLD),  # there is no bar before
    ],
)
def test_with_the_trigger_cross_only_the_bar_that_gets_there_gives_a_signal(
    closes: tuple[float, ...], action: Action
) -> None:
    crossing = definition(universe=["AAPL"], trigger="cross")
    assert warm_up(crossing) == warm_up(definition()) + 1
    [signal] = evaluate(crossing, {"AAPL": history(*closes)})
    assert signal.action is action


@pytest.mark.parametrize(("rising", "action"), [(1, Action.BUY), (15, Action.BUY), (16, Action.HOLD)])
def test_on_minute_bars_whatever_crossed_since_the_decision_before_gives_a_signal(
    rising: int, action: Action
) -> None:
    """Of 15 minutes only one is the last when strategies decide."""
    assert JOB_DEFAULTS[JobType.STRATEGY_EXECUTION].cadence.every == timedelta(minutes=15)
    crossing = definition(universe=["AAPL"], timeframe="minute", trigger="cross")
    assert warm_up(crossing) == warm_up(definition()) + 15
    closes = [10.0] * 20 + [10 * 1.5**number for number in range(1, rising + 1)]
    [signal] = evaluate(crossing, {"AAPL": history(*closes)})
    assert signal.action is action
