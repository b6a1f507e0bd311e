"""Factors: each file of this folder turns a price history into a score in [-1, 1].

The folder is the registry: a factor's name is its file's name, and a new file is a new factor. A file has

- `Parameters`: a frozen pydantic model whose fields have defaults and bounds,
- `warm_up(parameters) -> int`: how many bars a score needs; it looks at exactly the last that many, so that
  a longer history never changes it,
- `score(history, parameters) -> float | None`: above 0 speaks for buying, below 0 for selling; None when the
  history is shorter than the warm-up or the factor is undefined on it.
"""

import pkgutil
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from trading_orchestration.domain.suggestion import known_and_nearest
from trading_orchestration.errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: A measure smaller than this is rounding noise and counts as 0.
_NOISE = 1e-12


@dataclass(frozen=True, slots=True)
class PriceHistory:
    """Completed bars of one symbol, oldest first: contiguous float64 arrays of one length.

    Prices are finite and above 0.
    """

    closes: "NDArray[np.float64]"
    highs: "NDArray[np.float64]"
    lows: "NDArray[np.float64]"
    volumes: "NDArray[np.float64]"

    def before(self, bars: int) -> "PriceHistory":
        """The same as it was so many bars earlier."""
        return PriceHistory(self.closes[:-bars], self.highs[:-bars], self.lows[:-bars], self.volumes[:-bars])


class FactorParameters(BaseModel):
    """Base of every factor's parameters: immutable, no unknown names, no silent conversions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Factor(Protocol):
    """What a file of this folder offers."""

    Parameters: type[FactorParameters]

    def warm_up(self, parameters: Any) -> int: ...

    def score(self, history: PriceHistory, parameters: Any) -> float | None: ...


@cache
def factor_names() -> tuple[str, ...]:
    """The names of all factors, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


@cache
def load_factor(name: str) -> Factor:
    """The factor of that name; its file is imported now. Raises `InvalidInputError` naming the known ones."""
    if name not in factor_names():
        raise InvalidInputError(f"There is no factor {name!r}; {known_and_nearest(name, factor_names())}")
    return cast("Factor", import_module(f"{__name__}.{name}"))


def saturate(value: float, saturation: float) -> float:
    """A measure as a score: linear, ±1 from ±`saturation` on. With a saturation of 0 only the sign counts."""
    if abs(value) < _NOISE:
        return 0.0
    if abs(value) >= saturation:
        return 1.0 if value > 0 else -1.0
    return value / saturation
