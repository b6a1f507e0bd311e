"""What the strategies say at a tick, from bars that are complete: no book is looked at, none is held."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.domain.strategy import Signal, StrategyDefinition, evaluate, warm_up
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.adjusted_history import adjusted_histories
from trading_orchestration.services.tick import Tick
from trading_orchestration.store import alerts, portfolios
from trading_orchestration.store.alerts import Notification, Severity
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Strategy


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A strategy with what it says: one signal a symbol of its universe."""

    strategy: Strategy
    definition: StrategyDefinition
    signals: Sequence[Signal]


@dataclass(frozen=True, slots=True)
class Signals:
    """The strategies that could be evaluated, by portfolio, and how many could not."""

    by_portfolio: Mapping[int, Sequence[Evaluated]]
    broken: int


def evaluate_strategies(begin: Begin, tick: Tick, strategies: Sequence[Strategy]) -> Signals:
    """Evaluate each strategy. One that cannot be is told of and left out; it does not stop the others.

    A constant number of statements, whatever the number of strategies and symbols, but for what is told.
    """
    problems: dict[int, str] = {}
    readable = {s.id: parsed for s in strategies if (parsed := _parsed(s, problems)) is not None}
    with begin() as connection:
        histories = _histories(connection, tick, list(readable.values()))
    found: dict[int, list[Evaluated]] = {}
    for strategy in strategies:
        definition = readable.get(strategy.id)
        if definition is None:
            continue
        signals = _signals(strategy, definition, histories[definition.timeframe], problems)
        if signals is not None:
            evaluated = Evaluated(strategy, definition, signals)
            found.setdefault(strategy.portfolio_id, []).append(evaluated)
    _record(begin, tick, strategies, problems)
    return Signals(found, len(problems))


def _parsed(strategy: Strategy, problems: dict[int, str]) -> StrategyDefinition | None:
    try:
        return strategy.parsed()
    except InvalidInputError as error:
        problems[strategy.id] = str(error)
    except Exception as error:  # noqa: BLE001 (a factor is anybody's code; it is told of and stops nobody)
        problems[strategy.id] = f"{type(error).__name__}: {error}"
    return None


def _signals(
    strategy: Strategy,
    definition: StrategyDefinition,
    histories: Mapping[str, PriceHistory],
    problems: dict[int, str],
) -> Sequence[Signal] | None:
    try:
        signals = evaluate(definition, histories)
    except Exception as error:  # noqa: BLE001 (a factor is anybody's code; it is told of and stops nobody)
        problems[strategy.id] = f"{type(error).__name__}: {error}"
        return None
    for signal in signals:
        scores = (signal.score, *(score for score in signal.factor_scores.values() if score is not None))
        if not all(map(isfinite, scores)):
            problems[strategy.id] = f"Its scores on {signal.symbol} are no numbers: {scores}."
            return None
    return signals


def _histories(
    connection: Connection, tick: Tick, definitions: Sequence[StrategyDefinition]
) -> dict[Timeframe, dict[str, PriceHistory]]:
    found: dict[Timeframe, dict[str, PriceHistory]] = {}
    for timeframe in sorted({definition.timeframe for definition in definitions}):
        mine = [definition for definition in definitions if definition.timeframe is timeframe]
        found[timeframe] = adjusted_histories(
            connection,
            sorted({symbol for definition in mine for symbol in definition.universe}),
            timeframe,
            at=tick.at,
            count=max(warm_up(definition) for definition in mine),
        )
    return found


def _record(begin: Begin, tick: Tick, strategies: Sequence[Strategy], problems: Mapping[int, str]) -> None:
    """Keep with each strategy what was wrong with it, or that nothing is any more."""
    changed = [s for s in strategies if s.last_error != problems.get(s.id)]
    if not changed and not problems:
        return
    with begin() as connection:
        for strategy in changed:
            portfolios.set_strategy_error(connection, strategy.id, problems.get(strategy.id))
        told = [_broken(tick, s, problems[s.id]) for s in strategies if s.id in problems]
        alerts.add_notifications(connection, told, at=tick.at)


def _broken(tick: Tick, strategy: Strategy, problem: str) -> Notification:
    return Notification(
        severity=Severity.WARNING,
        kind="strategy",
        title=f"Strategy {strategy.name} cannot be evaluated",
        body=problem,
        portfolio_id=strategy.portfolio_id,
        dedupe_key=f"strategy:{strategy.id}:{tick.session.date}",
    )
