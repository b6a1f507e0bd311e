"""Rule-based strategies: weighted factor scores become BUY, SELL or HOLD.

    score  = Σ weight × factor score / Σ weight, in [-1, 1]
    action = BUY when score ≥ buy_threshold, SELL when score ≤ sell_threshold, otherwise HOLD

With the trigger `cross` an action is given only where the score has come to its threshold since the decision
before: where the bar that was the last one then gave the same action already, or where there is none, it is
HOLD. On daily bars that is the bar before the last, on minute bars the one 15 minutes before.

A definition comes from plain values, as a YAML file or a jsonb column holds them; the first mistake in them
is told with its path, its value and what is allowed instead.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from math import isfinite
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from trading_orchestration.domain.factors import FactorParameters, PriceHistory, factor_names, load_factor
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.domain.sizing import Direction, Sizing
from trading_orchestration.domain.suggestion import known_and_nearest
from trading_orchestration.errors import InvalidInputError

#: Scores are rounded to so many places, so that the last bits of a machine's arithmetic decide nothing.
SCORE_PLACES = 9
UNIVERSE_MAX = 5000
FACTORS_MAX = 50
#: How many bars complete from one decision to the next that can come to something else: `strategy_execution`
#: runs every 15 minutes.
_BARS_A_DECISION = {Timeframe.DAY: 1, Timeframe.MINUTE: 15}

Path = tuple[str | int, ...]


class StrategyDefinitionError(InvalidInputError):
    """A strategy's definition has a mistake at `path`: keys and list positions from the top."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class Trigger(StrEnum):
    """When a score gives a signal."""

    LEVEL = "level"  # at every bar at which it is beyond a threshold
    CROSS = "cross"  # at the decision at which it has got there


class Action(StrEnum):
    """What a signal says to do."""

    BUY = "buy"
    SELL = "sell"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What a strategy concludes about one symbol. Scores are in [-1, 1], or None where undefined."""

    symbol: str
    action: Action
    score: float
    reason: str
    factor_scores: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorUse:
    """One factor in a strategy: its file's name, its weight against the others, its parameters."""

    name: str
    weight: float
    parameters: FactorParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyDefinition:
    """A strategy as its file gives it, checked. `portfolio` is None where the file names none."""

    name: str
    portfolio: str | None
    universe: tuple[str, ...]
    timeframe: Timeframe
    factors: tuple[FactorUse, ...]
    buy_threshold: float
    sell_threshold: float
    sizing: Sizing
    trigger: Trigger = Trigger.LEVEL
    direction: Direction = Direction.LONG

    def to_json(self) -> dict[str, Any]:
        """The definition as plain JSON values; `parse_definition` reads it back."""
        return {
            "name": self.name,
            "portfolio": self.portfolio,
            "universe": list(self.universe),
            "timeframe": self.timeframe.value,
            "factors": [
                {"name": use.name, "weight": use.weight, "parameters": use.parameters.model_dump()}
                for use in self.factors
            ],
            "buy_threshold": self.buy_threshold,
            "sell_threshold": self.sell_threshold,
            "trigger": self.trigger.value,
            "direction": self.direction.value,
            "sizing": {
                "percent": None if self.sizing.percent is None else str(self.sizing.percent),
                "shares": None if self.sizing.shares is None else str(self.sizing.shares),
                "fractional": self.sizing.fractional,
                "top_up": self.sizing.top_up,
            },
        }


def warm_up(definition: StrategyDefinition) -> int:
    """How many completed bars of a symbol the strategy looks at; with fewer it holds."""
    bars = max(load_factor(use.name).warm_up(use.parameters) for use in definition.factors)
    return bars + _BARS_A_DECISION[definition.timeframe] if definition.trigger is Trigger.CROSS else bars


def evaluate(definition: StrategyDefinition, histories: Mapping[str, PriceHistory]) -> list[Signal]:
    """One signal for every symbol of the universe, in its order.

    A symbol without a history, with one that is too short, or on which a factor is undefined, is HOLD with
    the reason.
    """
    needed, weighted = warm_up(definition), _weighted(definition)
    signals = []
    for symbol in definition.universe:
        history = _usable(histories.get(symbol), needed)
        if isinstance(history, str):
            signals.append(_hold(symbol, history, dict.fromkeys(use.name for use in definition.factors)))
            continue
        signal = _signal(symbol, history, weighted, definition)
        if definition.trigger is Trigger.CROSS and signal.action is not Action.HOLD:
            bars = _BARS_A_DECISION[definition.timeframe]
            before = _signal(symbol, history.before(bars), weighted, definition)
            signal = _crossing(signal, before, "on the bar before" if bars == 1 else f"{bars} bars before")
        signals.append(signal)
    return signals


#: A factor's name, its score, its parameters and its share in the whole.
_Weighted = Sequence[tuple[str, Callable[[PriceHistory, Any], float | None], FactorParameters, float]]


def _weighted(definition: StrategyDefinition) -> _Weighted:
    total = sum(use.weight for use in definition.factors)
    return [
        (use.name, load_factor(use.name).score, use.parameters, use.weight / total)
        for use in definition.factors
    ]


def _crossing(signal: Signal, before: Signal, when: str) -> Signal:
    """The signal where the one before was not the same; one that is undefined gives nothing."""
    if None in before.factor_scores.values():
        return replace(signal, action=Action.HOLD, reason=f"{signal.reason} It was undefined {when}.")
    if before.action is signal.action:
        return replace(signal, action=Action.HOLD, reason=f"{signal.reason} So it was {when}.")
    return signal


def _rounded(score: float) -> float:
    return round(score, SCORE_PLACES) + 0.0  # makes 0.0 of -0.0


def _usable(history: PriceHistory | None, needed: int) -> PriceHistory | str:
    """The history, or the reason why it cannot be used."""
    bars = 0 if history is None else len(history.closes)
    if history is None or bars < needed:
        return f"Its history has {bars} bars; the strategy needs {needed}."
    if not (history.closes.min() > 0 and isfinite(history.closes.dot(history.closes))):
        return "Its history holds a close that is not a price."
    return history


def _signal(
    symbol: str, history: PriceHistory, weighted: _Weighted, definition: StrategyDefinition
) -> Signal:
    scores: dict[str, float | None] = {}
    combined = 0.0
    for name, score_of, parameters, share in weighted:
        value = score_of(history, parameters)
        scores[name] = value if value is None else _rounded(value)
        combined += 0.0 if value is None else share * value
    score = _rounded(combined)
    if None in scores.values():
        undefined = ", ".join(name for name, value in scores.items() if value is None)
        return _hold(symbol, f"Undefined on its history: {undefined}.", scores)
    if score >= definition.buy_threshold:
        action, bound = Action.BUY, f"≥ {definition.buy_threshold:g}"
    elif score <= definition.sell_threshold:
        action, bound = Action.SELL, f"≤ {definition.sell_threshold:g}"
    else:
        action, bound = Action.HOLD, f"between {definition.sell_threshold:g} and {definition.buy_threshold:g}"
    return Signal(
        symbol=symbol, action=action, score=score, reason=f"Score {score:.4f} {bound}.", factor_scores=scores
    )


def _hold(symbol: str, reason: str, scores: Mapping[str, float | None]) -> Signal:
    return Signal(symbol=symbol, action=Action.HOLD, score=0.0, reason=reason, factor_scores=scores)


def parse_definition(data: Mapping[str, Any]) -> StrategyDefinition:
    """Check plain values and build the definition. Raises `StrategyDefinitionError` at the first mistake."""
    if not isinstance(data, Mapping):
        raise StrategyDefinitionError(f"A strategy is a mapping of keys to values, not {_shown(data)}.", ())
    checked = _checked(_DefinitionInput, dict(data), ())
    _refuse_repeats(checked)
    if checked.sell_threshold >= checked.buy_threshold:
        raise StrategyDefinitionError(
            f"sell_threshold was {checked.sell_threshold:g}; it should be less than buy_threshold, which is "
            f"{checked.buy_threshold:g}.",
            ("sell_threshold",),
        )
    return StrategyDefinition(
        name=checked.name,
        portfolio=checked.portfolio,
        universe=tuple(checked.universe),
        timeframe=checked.timeframe,
        factors=tuple(_factor_use(use, ("factors", index)) for index, use in enumerate(checked.factors)),
        buy_threshold=checked.buy_threshold,
        sell_threshold=checked.sell_threshold,
        sizing=_sizing(checked.sizing),
        trigger=checked.trigger,
        direction=checked.direction,
    )


def _refuse_repeats(checked: "_DefinitionInput") -> None:
    for key, names in (("universe", checked.universe), ("factors", [use.name for use in checked.factors])):
        for index, name in enumerate(names):
            if name in names[:index]:
                raise StrategyDefinitionError(f"{key}[{index}] repeats {name!r}; name it once.", (key, index))


def _factor_use(use: "_FactorInput", path: Path) -> FactorUse:
    if use.name not in factor_names():
        raise StrategyDefinitionError(
            f"{_where((*path, 'name'))} was {use.name!r}; {known_and_nearest(use.name, factor_names())}",
            (*path, "name"),
        )
    parameters = _checked(load_factor(use.name).Parameters, use.parameters, (*path, "parameters"))
    return FactorUse(name=use.name, weight=use.weight, parameters=parameters)


def _sizing(sizing: "_SizingInput") -> Sizing:
    try:
        return Sizing(
            percent=sizing.percent,
            shares=sizing.shares,
            fractional=sizing.fractional,
            top_up=sizing.top_up,
        )
    except InvalidInputError as error:
        raise StrategyDefinitionError(str(error), ("sizing",)) from None


def _exact(value: object) -> object:
    """A number as it is written, 0.1 as 0.1."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value


#: Patterns as the database checks them, and what they mean in words.
_SLUG = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_SYMBOL = r"^[A-Z0-9][A-Z0-9./-]{0,15}$"
_PATTERN_WORDS = {
    _SLUG: "it should be 1 to 64 of a-z, 0-9, _ and -, beginning with a letter or digit",
    _SYMBOL: "it should be a symbol in upper case, at most 16 of A-Z, 0-9, '.', '/' and '-'",
}

_Slug = Annotated[str, Field(pattern=_SLUG)]
_Symbol = Annotated[str, Field(pattern=_SYMBOL)]
_Threshold = Annotated[float, Field(ge=-1, le=1)]
_Exact = Annotated[Decimal, BeforeValidator(_exact)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class _SizingInput(_Strict):
    percent: Annotated[_Exact | None, Field(gt=0, le=100, decimal_places=9)] = None
    shares: Annotated[_Exact | None, Field(gt=0, lt=10**11, decimal_places=9)] = None
    fractional: bool = False
    top_up: bool = True


class _FactorInput(_Strict):
    name: str
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    parameters: dict[str, Any] = {}


class _DefinitionInput(_Strict):
    name: _Slug
    portfolio: _Slug | None = None
    universe: Annotated[list[_Symbol], Field(min_length=1, max_length=UNIVERSE_MAX)]
    timeframe: Annotated[Timeframe, Field(strict=False)] = Timeframe.DAY
    factors: Annotated[list[_FactorInput], Field(min_length=1, max_length=FACTORS_MAX)]
    buy_threshold: _Threshold
    sell_threshold: _Threshold
    trigger: Annotated[Trigger, Field(strict=False)] = Trigger.LEVEL
    direction: Annotated[Direction, Field(strict=False)] = Direction.LONG
    sizing: _SizingInput


_INPUTS: Mapping[str | int, type[BaseModel]] = {"factors": _FactorInput, "sizing": _SizingInput}

_TYPE_WORDS = {
    "string_type": "it should be text; put it in quotes",
    "int_type": "it should be a whole number",
    "float_type": "it should be a number",
    "is_instance_of": "it should be a number",
    "bool_type": "it should be true or false",
    "list_type": "it should be a list",
    "dict_type": "it should be a mapping of keys to values",
    "model_type": "it should be a mapping of keys to values",
    "finite_number": "it should be a finite number",
    "too_short": "it should have at least one entry",
}

_Model = TypeVar("_Model", bound=BaseModel)


def _checked(model: type[_Model], data: object, path: Path) -> _Model:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        mistakes = error.errors()
        # A misspelt key is both unknown and missing; that it is unknown helps more.
        mistake = next(
            (one for one in mistakes if one["type"] in ("extra_forbidden", "invalid_key")), mistakes[0]
        )
        raise StrategyDefinitionError(_sentence(mistake, model, path), (*path, *mistake["loc"])) from None


def _sentence(mistake: ErrorDetails, model: type[BaseModel], path: Path) -> str:
    where, kind, value = _where((*path, *mistake["loc"])), mistake["type"], _shown(mistake["input"])
    if kind == "missing":
        return f"{where} is missing."
    if kind == "extra_forbidden":
        fields = (_INPUTS[mistake["loc"][0]] if len(mistake["loc"]) > 1 else model).model_fields
        return f"{where} is not a key here; {known_and_nearest(str(mistake['loc'][-1]), fields)}"
    if kind == "value_error":
        return f"{where}: {mistake['ctx']['error']}."
    if kind == "string_pattern_mismatch":
        return f"{where} was {value}; {_PATTERN_WORDS[mistake['ctx']['pattern']]}{_mended(mistake)}"
    words = mistake["msg"].replace("Input should", "it should")
    return f"{where} was {value}; {_TYPE_WORDS.get(kind, words[0].lower() + words[1:])}."


def _mended(mistake: ErrorDetails) -> str:
    text = mistake["input"].strip()
    for near in (text.upper(), re.sub(r"\W+", "-", text.lower())):
        if re.match(mistake["ctx"]["pattern"], near):
            return f"; did you mean {near!r}?"
    return "."


def _shown(value: object) -> str:
    text = str(value) if isinstance(value, Decimal) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _where(path: Path) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).removeprefix(".")
