"""The asset `daily_bars`, partitioned like the snapshots that stand on it, and the sensor that fetches it.

No job of its own: fetching bars twice or late changes nothing, so that it needs neither admission nor a
breaker.
"""

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.assets import closed_of, materialisation, session_partitions
from trading_orchestration.orchestration.descriptions import OWNERS
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.services.daily_bars import FetchedBars

ASSET = "daily_bars"
_INTERVAL_S = 60
#: A fetch of ten years from a slow vendor ends by then.
_MAX_RUNTIME_S = 3600
_NAMES_MAX = 20


def daily_bars_asset(calendar: MarketCalendar) -> dg.AssetsDefinition:
    """The asset `daily_bars`, partitioned by the sessions of an exchange."""

    @dg.multi_asset(
        name=ASSET,
        partitions_def=session_partitions(calendar),
        backfill_policy=dg.BackfillPolicy.single_run(),
        op_tags={"kind": "market data"},
        specs=[
            dg.AssetSpec(
                ASSET,
                description="The raw daily bars of all symbols that are held, traded, alerted, in the "
                "universe of a strategy, or the benchmark.",
                group_name="market",
                kinds={"postgres"},
                owners=OWNERS,
                skippable=True,
            )
        ],
    )
    def daily_bars(
        context: dg.AssetExecutionContext, trading: TradingResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """A range is fetched at once; what the source says otherwise than before is a kept correction."""
        from trading_orchestration.errors import TradingError

        chosen = sorted(date.fromisoformat(key) for key in context.partition_keys)
        try:
            opened = trading.open()
            last = opened.calendar.last_closed(opened.clock()).date
            days = closed_of(context, chosen, last) if chosen[0] <= last else chosen
            fetched = opened.daily_bars.fetch(days)
        except TradingError as error:
            raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
        context.log.info(
            f"{len(fetched.symbols)} symbols, {fetched.added} bars added, {fetched.corrected} corrected"
        )
        if fetched.problems:
            raise dg.Failure("; ".join(fetched.problems), allow_retries=False)
        if days != chosen:  # Dagster's own result would stand for all that were chosen
            for day in days:
                context.log_event(materialisation(ASSET, day, _metadata(fetched, day)))
            return
        for day in days:
            context.add_asset_metadata(_metadata(fetched, day), ASSET, day.isoformat())
        yield dg.MaterializeResult(asset_key=ASSET)

    return daily_bars


def _metadata(fetched: "FetchedBars", day: date) -> dict[str, dg.MetadataValue[Any]]:
    missing = fetched.missing.get(day, [])
    found: dict[str, dg.MetadataValue[Any]] = {
        "symbols": dg.MetadataValue.int(len(fetched.symbols)),
        "bars": dg.MetadataValue.int(fetched.bars.get(day, 0)),
    }
    if missing:
        more = f" and {len(missing) - _NAMES_MAX} more" if len(missing) > _NAMES_MAX else ""
        found["missing"] = dg.MetadataValue.text(", ".join(missing[:_NAMES_MAX]) + more)
    return found


@dg.sensor(
    name="daily_bars_sensor",
    description="Has the bars of each session fetched after its close, while portfolio_snapshot is on.",
    asset_selection=dg.AssetSelection.assets(ASSET),
    tags={tags.KEEPS: "bars"},
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def daily_bars_sensor(
    _context: dg.SensorEvaluationContext, trading: TradingResource
) -> dg.RunRequest | dg.SkipReason:
    """A few attempts a session, each once; the last goes back over some sessions, for what was corrected."""
    bars = trading.open().daily_bars
    reason = bars.why_none_come()
    if reason is not None:
        return dg.SkipReason(reason)
    wanted = bars.wanted()
    if wanted is None:
        return dg.SkipReason("The bars of the last session are here.")
    first, last = wanted.first.date.isoformat(), wanted.last.date.isoformat()
    return dg.RunRequest(
        run_key=f"{last}/{wanted.attempt}",
        asset_selection=[dg.AssetKey(ASSET)],
        tags={
            tags.SESSION: last,
            "dagster/max_runtime": str(_MAX_RUNTIME_S),
            **tags.partition_range(first, last),
        },
    )
