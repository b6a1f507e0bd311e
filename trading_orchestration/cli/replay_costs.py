"""How commission and slippage are given on the command line, as settings of the paper broker."""

from decimal import Decimal

from trading_orchestration.cli.amounts import fraction
from trading_orchestration.domain.money import ZERO, parse_amount
from trading_orchestration.errors import InvalidInputError

_PER_SHARE, _PER_ORDER = "trading_paper_commission_per_share", "trading_paper_commission_per_order"
_RATE, _MINIMUM = "trading_paper_commission_pct", "trading_paper_commission_minimum"
_SLIPPAGE = "trading_paper_slippage_bps"
_BPS = 10_000


def costs_given(*, commission: str | None, slippage: str | None) -> dict[str, Decimal]:
    """The settings that `--commission` and `--slippage` replace; raises InvalidInputError.

    A commission replaces all of the environment's: its parts are joined by `+`, and what it leaves out is 0.
    """
    costs: dict[str, Decimal] = {}
    if commission is not None:
        costs = dict.fromkeys((_PER_SHARE, _PER_ORDER, _RATE, _MINIMUM), ZERO)
        for part in commission.split("+"):
            name, value = _commission_part(part.strip().lower())
            costs[name] = value
    if slippage is not None:
        costs[_SLIPPAGE] = _slippage(slippage.strip().lower())
    return costs


def _commission_part(part: str) -> tuple[str, Decimal]:
    what = "--commission"
    if part.startswith("min"):
        return _MINIMUM, parse_amount(part.removeprefix("min"), what=what)
    if part.endswith("%"):
        return _RATE, fraction(part, what=what)
    amount, _, unit = part.partition("/")
    name = {"share": _PER_SHARE, "order": _PER_ORDER}.get(unit.strip())
    if name is None:
        raise InvalidInputError(
            f"--commission has '{part}'; give 0.1%, 0.005/share, 1/order, min 0.35, or some joined by +."
        )
    return name, parse_amount(amount, what=what)


def _slippage(text: str) -> Decimal:
    if text.endswith("%"):
        return fraction(text, what="--slippage") * _BPS
    return parse_amount(text.removesuffix("bps"), what="--slippage")
