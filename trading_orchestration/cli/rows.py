"""Domain values as rows that more than one command prints; the keys are the same everywhere."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trading_orchestration.store.ledger import HeldPosition
    from trading_orchestration.store.portfolios import Halt


def position_row(held: "HeldPosition") -> dict[str, Any]:
    """A position with its newest mark."""
    return {
        "portfolio": held.portfolio,
        "symbol": held.position.symbol,
        "quantity": held.position.quantity,
        "average_cost": held.position.average_cost,
        "realised_pnl": held.position.realised_pnl,
        "market_price": held.market_price,
        "market_value": held.market_value,
        "unrealised_pnl": held.unrealised_pnl,
        "marked_at": held.marked_at,
    }


def halt_row(halt: "Halt") -> dict[str, Any]:
    """A halt in force; `portfolio` None is for all."""
    return {
        "portfolio": halt.portfolio,
        "level": halt.level.value,
        "reason": halt.reason,
        "actor": halt.actor,
        "halted_at": halt.halted_at,
    }
