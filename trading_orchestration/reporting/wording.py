"""A review as rows of words: what a person reads in the report and beside the assets in the Dagster UI."""

from dataclasses import dataclass
from decimal import Decimal

from trading_orchestration.domain.money import plain
from trading_orchestration.domain.performance import Drawdown
from trading_orchestration.domain.round_trip import RoundTrip
from trading_orchestration.services.portfolio_review import (
    Performance,
    Review,
    StrategyAttribution,
    TradeFigures,
)
from trading_orchestration.store.performance import Holding

UNDEFINED = "–"
#: The name of what no strategy owned.
NO_STRATEGY = "(no strategy)"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure: what it is called, how it is written, and how it is worked out."""

    group: str
    name: str
    value: str
    formula: str


def metrics_of(performance: Performance) -> list[Metric]:
    """Every figure of a portfolio, in the order in which it is read."""
    return [
        *_value(performance),
        *_returns(performance),
        *_risk(performance),
        *_trading(performance),
        *_benchmark(performance),
    ]


def strategy_rows(review: Review) -> list[dict[str, str]]:
    """A row a strategy; P&L is in the portfolio's currency, and the rows add up to the portfolio's."""
    return [_strategy_row(of) for of in review.strategies]


def overview_row(performance: Performance) -> dict[str, str]:
    """A portfolio on one line."""
    depth = performance.max_drawdown.depth if performance.max_drawdown else None
    return {
        "portfolio": performance.portfolio,
        "sessions": f"{performance.sessions:,}",
        "value": money(performance.end_value),
        "paid in": money(performance.start_value + performance.net_deposits),
        "total return": percent(performance.total_return),
        "a year": percent(performance.annualised_return),
        "volatility": percent(performance.volatility),
        "Sharpe": ratio(performance.sharpe_ratio),
        "deepest drawdown": percent(depth),
        "round trips": f"{performance.trades.round_trips:,}",
        "win rate": percent(performance.trades.win_rate),
    }


def holding_rows(review: Review) -> list[dict[str, str]]:
    """What is held at the end of the period."""
    return [_holding_row(holding, review.performance.end_value) for holding in review.holdings]


def trip_rows(review: Review, *, limit: int) -> list[dict[str, str]]:
    """The newest round trips, newest first; those that go on before those that ended."""
    ordered = sorted(
        review.trips, key=lambda t: (t.closed_at is None, t.closed_at or t.opened_at), reverse=True
    )
    return [_trip_row(trip) for trip in ordered[:limit]]


def money(amount: Decimal | None) -> str:
    """An amount to two places with commas; halves away from zero, never a negative zero."""
    return UNDEFINED if amount is None else f"{amount:z,.2f}"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage to two places."""
    return UNDEFINED if fraction is None else f"{fraction:z.2%}"


def ratio(value: float | None) -> str:
    """A plain number to two places."""
    return UNDEFINED if value is None else f"{value:z,.2f}"


def _value(of: Performance) -> list[Metric]:
    group = "Value"
    return [
        Metric(group, "value at the start", money(of.start_value), "cash + Σ quantity × close, before"),
        Metric(group, "paid in", money(of.net_deposits), "deposits − withdrawals in the period"),
        Metric(
            group, "realised", money(of.trades.realised_pnl), "Σ quantity × (price − average cost) − fees"
        ),
        Metric(group, "unrealised", money(of.trades.unrealised_pnl), "Σ quantity × (close − average cost)"),
        Metric(group, "value at the end", money(of.end_value), "cash + Σ quantity × close"),
    ]


def _returns(of: Performance) -> list[Metric]:
    group = "Return"
    return [
        Metric(group, "total return", percent(of.total_return), "Π(1 + r) − 1, deposits taken out"),
        Metric(group, "annualised return", percent(of.annualised_return), "(1 + total)^(252 / n) − 1"),
        Metric(group, "Sharpe ratio", ratio(of.sharpe_ratio), "mean(r) / s × √252, risk-free rate 0"),
        Metric(group, "Sortino ratio", ratio(of.sortino_ratio), "mean(r) × 252 / downside deviation"),
        Metric(group, "Calmar ratio", ratio(of.calmar_ratio), "annualised return / deepest drawdown"),
    ]


def _risk(of: Performance) -> list[Metric]:
    group = "Risk"
    depth = of.max_drawdown.depth if of.max_drawdown else None
    return [
        Metric(group, "volatility", percent(of.volatility), "s × √252"),
        Metric(group, "deepest drawdown", percent(depth), _dates(of.max_drawdown)),
        Metric(group, "VaR 95 %", percent(of.value_at_risk_95), "5th percentile of a session's returns"),
        Metric(group, "VaR 99 %", percent(of.value_at_risk_99), "1st percentile; from 100 sessions on"),
        Metric(group, "CVaR 95 %", percent(of.conditional_value_at_risk_95), "mean of the worst 5 %"),
        Metric(group, "CVaR 99 %", percent(of.conditional_value_at_risk_99), "mean of the worst 1 %"),
    ]


def _trading(of: Performance) -> list[Metric]:
    group, trades = "Trading", of.trades
    return [
        Metric(group, "round trips", f"{trades.round_trips:,}", f"ended; {trades.open_round_trips} go on"),
        Metric(group, "win rate", percent(trades.win_rate), "share of round trips with a gain"),
        Metric(group, "profit factor", ratio(trades.profit_factor), "Σ gains / Σ losses"),
        Metric(group, "average trade", money(trades.average_trade), "mean P&L of a round trip, after fees"),
        Metric(group, "exposure", percent(of.exposure), "mean Σ |position| / total value"),
        Metric(group, "turnover a year", ratio(trades.turnover), "traded / 2 / mean value × 252 / n"),
    ]


def _benchmark(of: Performance) -> list[Metric]:
    if of.benchmark is None:
        return []
    group, beside = f"Beside {of.benchmark.symbol}", of.benchmark
    return [
        Metric(
            group, f"{beside.symbol}'s return", percent(beside.total_return), "last close / close before − 1"
        ),
        Metric(group, "beta", ratio(beside.beta), f"cov(r, b) / var(b) over {beside.sessions:,} sessions"),
        Metric(group, "alpha a year", percent(beside.alpha), "(1 + mean(r − beta × b))^252 − 1"),
    ]


def _dates(drawdown: Drawdown | None) -> str:
    if drawdown is None:
        return "from a high to the low after it"
    peak = drawdown.peak.isoformat() if drawdown.peak else "the start"
    recovered = f"made good {drawdown.recovered}" if drawdown.recovered else "not made good yet"
    return f"{peak} to {drawdown.trough}, {recovered}"


def _strategy_row(of: StrategyAttribution) -> dict[str, str]:
    trades: TradeFigures = of.trades
    return {
        "strategy": of.strategy or NO_STRATEGY,
        "realised": money(trades.realised_pnl),
        "unrealised": money(trades.unrealised_pnl),
        "round trips": f"{trades.round_trips:,}",
        "open": f"{trades.open_round_trips:,}",
        "win rate": percent(trades.win_rate),
        "profit factor": ratio(trades.profit_factor),
        "average trade": money(trades.average_trade),
        "turnover": ratio(trades.turnover),
    }


def _holding_row(holding: Holding, total: Decimal) -> dict[str, str]:
    return {
        "symbol": holding.symbol,
        "quantity": plain(holding.quantity),
        "average cost": money(holding.average_cost),
        "close": money(holding.close),
        "value": money(holding.value),
        "unrealised": money(holding.quantity * (holding.close - holding.average_cost)),
        "share": percent(float(holding.value / total) if total > 0 else None),
    }


def _trip_row(trip: RoundTrip) -> dict[str, str]:
    return {
        "symbol": trip.symbol,
        "side": "long" if trip.is_long else "short",
        "quantity": plain(trip.quantity),
        "opened": f"{trip.opened_at:%Y-%m-%d}",
        "closed": f"{trip.closed_at:%Y-%m-%d}" if trip.closed_at else "open",
        "entry": money(trip.entry_price),
        "exit": money(trip.exit_price),
        "P&L": money(trip.pnl),
    }
