"""What keeps a portfolio from taking on anything new, and when the system halts itself; exits go on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from trading_orchestration.domain.corporate_action import CorporateAction
from trading_orchestration.domain.money import EXACT, ZERO, plain
from trading_orchestration.domain.price import Quote
from trading_orchestration.domain.risk import Holdings, RiskLimits
from trading_orchestration.store.snapshots import Standing

#: More orders of one portfolio within an hour are no strategy but a fault.
ORDERS_PER_HOUR_MAX = 200
#: A quote that is further than this from the previous close is a split, a bad tick or a day to stay out.
COLLAR = Decimal("0.3")
HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why nothing new is bought. `halts_as` names the rule for which the system halts itself, if it does."""

    reason: str
    halts_as: str | None = None


def obstacle(
    *,
    halted: str | None,
    reconciled_at: datetime | None,
    reconciled_since: datetime,
    orders_last_hour: int,
    holdings: Holdings,
    limits: RiskLimits,
    standing: Standing | None,
) -> Obstacle | None:
    """The first thing that stands against any entry of a portfolio, or None.

    Books count as compared with the broker's from `reconciled_since` on; `standing` is that of the last
    snapshot.
    """
    if halted is not None:
        return Obstacle(f"Trading is halted: {halted}")
    if reconciled_at is None or reconciled_at < reconciled_since:
        last = "never" if reconciled_at is None else f"last at {reconciled_at:%Y-%m-%d %H:%M} UTC"
        return Obstacle(f"The books were {last} compared with the broker's; position_sync comes first.")
    if orders_last_hour >= ORDERS_PER_HOUR_MAX:
        return Obstacle(
            f"{orders_last_hour} orders came within an hour; the limit is {ORDERS_PER_HOUR_MAX}.",
            halts_as="order rate",
        )
    return _daily_loss(holdings, limits) or _drawdown(holdings, limits, standing)


def _daily_loss(holdings: Holdings, limits: RiskLimits) -> Obstacle | None:
    equity, at_open, limit = holdings.equity(), holdings.equity_at_open, limits.max_daily_loss_pct
    if limit is None or equity is None or at_open is None or at_open <= 0:
        return None
    if at_open - equity < EXACT.multiply(limit, at_open):
        return None
    loss = EXACT.divide(at_open - equity, at_open)
    return Obstacle(
        f"Equity fell by {loss:.2%} since the open, from {at_open:,.2f} to {equity:,.2f}; the limit for a "
        f"day is {limit:.2%}.",
        halts_as="daily loss",
    )


def _drawdown(holdings: Holdings, limits: RiskLimits, standing: Standing | None) -> Obstacle | None:
    """How far the value of one unit put in at the start is below the highest it has been."""
    equity, limit = holdings.equity(), limits.max_drawdown_pct
    if limit is None or equity is None or standing is None or standing.total_value + standing.flows <= 0:
        return None
    growth = EXACT.divide(equity, standing.total_value + standing.flows)
    now = EXACT.multiply(1 + (standing.total_return or ZERO), growth)
    highest = 1 + max(standing.best_return or ZERO, ZERO)
    fall = EXACT.divide(highest - now, highest)
    if fall < limit:
        return None
    return Obstacle(
        f"The portfolio is {fall:.2%} below the highest value it has had; the limit is {limit:.2%}.",
        halts_as="drawdown",
    )


def outside_collar(
    symbols: Iterable[str], quotes: Mapping[str, Quote], splits: Mapping[str, Sequence[CorporateAction]]
) -> dict[str, str]:
    """The symbols whose quote is too far from the previous close to be believed unseen, and the reason.

    `splits` are those of the session. Some vendors give the previous close in its new units, some do not: the
    quote must be near to one of the two.
    """
    found = {s: _outside_collar(quotes[s], splits.get(s, ())) for s in symbols if s in quotes}
    return {symbol: reason for symbol, reason in found.items() if reason is not None}


def _outside_collar(quote: Quote, splits: Sequence[CorporateAction]) -> str | None:
    if quote.previous_close is None:
        return None
    close = quote.previous_close
    for split in splits:
        close = split.price_after_split(close)
    changes = [EXACT.divide(quote.price - c, c) for c in {quote.previous_close, close}]
    change = min(changes, key=abs)
    if abs(change) <= COLLAR:
        return None
    return (
        f"{quote.symbol} at {plain(quote.price)} is {change:+.0%} from its previous close of "
        f"{plain(quote.previous_close)}; prices are believed unseen within {COLLAR:.0%}."
    )
