"""The assets `quotes` → `positions` → `portfolio_snapshots`; the last stands on `daily_bars`, too."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING

import dagster as dg

from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.orchestration.admission import Done, Work, run_admitted
from trading_orchestration.orchestration.descriptions import OWNERS, link_to_job
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.orchestration.metadata import Metadata

#: The first session that can be snapshotted.
FIRST_SESSION = date(2000, 1, 3)


@dg.multi_asset(
    name="quotes",
    specs=[
        dg.AssetSpec(
            "quotes",
            description="The newest price of every symbol that is held, traded or alerted.",
            group_name="market",
            kinds={"postgres"},
            owners=OWNERS,
            metadata=link_to_job(JobType.PRICE_UPDATE),
            skippable=True,
        )
    ],
)
def quotes(
    context: dg.AssetExecutionContext, trading: TradingResource
) -> Iterator[dg.MaterializeResult[None]]:
    """One batched request for ≤ 100 symbols each; older prices never overwrite newer ones."""
    from trading_orchestration.orchestration import metadata

    def work(work: Work) -> "Done[dict[str, dg.MetadataValue]]":
        update = work.trading.update_prices(work.tick, work.begin)
        return Done(update.counts, metadata.of_quotes(update))

    done = run_admitted(context, trading, JobType.PRICE_UPDATE, work)
    if done is not None:
        yield dg.MaterializeResult(asset_key="quotes", metadata=done.result)


@dg.multi_asset(
    name="positions",
    specs=[
        dg.AssetSpec(
            "positions",
            deps=["quotes"],
            description="What every portfolio holds: the fold of its fills, compared with the broker.",
            group_name="books",
            kinds={"postgres"},
            owners=OWNERS,
            metadata=link_to_job(JobType.POSITION_SYNC),
            skippable=True,
        )
    ],
)
def positions(
    context: dg.AssetExecutionContext, trading: TradingResource
) -> Iterator[dg.MaterializeResult[None]]:
    """Every discrepancy is kept and repaired by an audited adjustment, or trading is halted."""
    from trading_orchestration.orchestration import metadata

    def work(work: Work) -> "Done[dict[str, dg.MetadataValue]]":
        report = work.trading.sync_positions(work.tick, work.begin)
        return Done(report.counts, metadata.of_positions(work, report.counts), tuple(report.problems))

    done = run_admitted(context, trading, JobType.POSITION_SYNC, work)
    if done is not None:
        yield dg.MaterializeResult(asset_key="positions", metadata=done.result)


def session_partitions(calendar: MarketCalendar) -> dg.DailyPartitionsDefinition:
    """One partition a session of the exchange; today's is listed before its close, left out until then."""
    sessions = [session.date for session in calendar.sessions if session.date >= FIRST_SESSION]
    trading_weekdays = {day.weekday() for day in sessions}
    never = ",".join(str((weekday + 1) % 7) for weekday in range(7) if weekday not in trading_weekdays)
    return dg.DailyPartitionsDefinition(
        start_date=sessions[0].isoformat(),
        timezone=calendar.timezone.key,
        end_offset=1,
        exclusions=[*([f"0 0 * * {never}"] if never else []), *_closed_days(sessions, trading_weekdays)],
    )


def portfolio_snapshots_asset(calendar: MarketCalendar) -> dg.AssetsDefinition:
    """The asset `portfolio_snapshots`, partitioned by the sessions of an exchange."""

    @dg.multi_asset(
        name="portfolio_snapshots",
        partitions_def=session_partitions(calendar),
        backfill_policy=dg.BackfillPolicy.single_run(),
        specs=[
            dg.AssetSpec(
                "portfolio_snapshots",
                deps=["quotes", "positions", "daily_bars"],
                description="What every portfolio was worth at a session's close: cash + Σ quantity × close.",
                group_name="books",
                kinds={"postgres"},
                owners=OWNERS,
                metadata=link_to_job(JobType.PORTFOLIO_SNAPSHOT),
                skippable=True,
            )
        ],
    )
    def portfolio_snapshots(
        context: dg.AssetExecutionContext, trading: TradingResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """One row a portfolio and session, however often it runs; the ledger and the closes decide alone."""
        from trading_orchestration.orchestration import metadata

        def work(work: Work) -> "Done[Iterable[tuple[date, metadata.Metadata]] | None]":
            chosen = _sessions_of(context, work.tick.session.date)
            sessions = closed_of(context, chosen, work.tick.session.date)
            report = work.trading.take_snapshots(sessions, work.begin)
            taken = [session for session in sessions if session not in report.unvalued]
            found = metadata.of_snapshots(work, taken)
            if taken == chosen:
                return Done(report.counts, found)
            for session, of_session in found:  # Dagster's own result would stand for all that were chosen
                context.log_event(materialisation("portfolio_snapshots", session, of_session))
            return Done(report.counts, None, tuple(report.problems))

        done = run_admitted(context, trading, JobType.PORTFOLIO_SNAPSHOT, work)
        if done is not None and done.result is not None:
            for session, of_session in done.result:
                context.add_asset_metadata(of_session, "portfolio_snapshots", session.isoformat())
            yield dg.MaterializeResult(asset_key="portfolio_snapshots")

    return portfolio_snapshots


def materialisation(asset: str, session: date, of_session: "Metadata") -> dg.AssetMaterialization:
    """What the UI shows of one session of an asset."""
    return dg.AssetMaterialization(asset, partition=session.isoformat(), metadata=of_session)


def closed_of(context: dg.AssetExecutionContext, chosen: Sequence[date], last: date) -> list[date]:
    """The chosen sessions up to the last one that has closed; a person reads what is left out."""
    left_out = [session.isoformat() for session in chosen if session > last]
    if left_out:
        context.log.warning(f"Left out, because it has not closed yet: {', '.join(left_out)}.")
    return [session for session in chosen if session <= last]


def _sessions_of(context: dg.AssetExecutionContext, session: date) -> list[date]:
    """The sessions to value, oldest first; the run's own where a person left the partition out."""
    if not context.has_partition_key and not context.has_partition_key_range:
        return [session]
    return sorted(date.fromisoformat(key) for key in context.partition_keys)


def _closed_days(sessions: list[date], trading_weekdays: set[int]) -> list[datetime]:
    """The days between the first and the last session on which an exchange rests though its week does not."""
    open_days = set(sessions)
    days = (date.fromordinal(n) for n in range(sessions[0].toordinal(), sessions[-1].toordinal()))
    return [
        datetime(day.year, day.month, day.day)  # noqa: DTZ001 (Dagster reads it in the partitions' zone)
        for day in days
        if day.weekday() in trading_weekdays and day not in open_days
    ]
