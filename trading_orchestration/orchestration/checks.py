"""Asset checks: what people may rely on, looked at by a sensor that costs no run, or by hand in the UI."""

import json
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from trading_orchestration.orchestration import tags
from trading_orchestration.orchestration.resources import TradingResource

if TYPE_CHECKING:
    from trading_orchestration.services.standing_checks import Finding
    from trading_orchestration.wiring import Trading

_INTERVAL_S = 60
#: What holds is told again after this, so that the UI never shows an old truth.
_TOLD_AGAIN_AFTER = timedelta(hours=12)
_PROBLEMS_MAX = 20
_PROBLEMS_TOLD = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one asset.

    `is_of_books`: looked at after snapshots were taken, `is_of_bars`: after bars have changed, not every
    minute. `is_warning`: what it finds may be right, and is shown without anybody being told.
    """

    asset: str
    name: str
    description: str
    look: "Callable[[Trading], Finding]"
    is_of_books: bool = False
    is_of_bars: bool = False
    is_warning: bool = False

    @property
    def key(self) -> str:
        """Its name in the sensor's cursor."""
        return f"{self.asset}.{self.name}"


def _quotes(trading: "Trading") -> "Finding":
    from trading_orchestration.services.standing_checks import check_quotes

    return check_quotes(trading.begin, trading.calendar, trading.clock())


def _brokers(trading: "Trading") -> "Finding":
    from trading_orchestration.services.standing_checks import check_brokers

    return check_brokers(trading.begin)


def _ledger(trading: "Trading") -> "Finding":
    from trading_orchestration.services.standing_checks import check_ledger

    return check_ledger(trading.begin)


def _sums(trading: "Trading") -> "Finding":
    from trading_orchestration.services.standing_checks import check_sums

    return check_sums(trading.begin)


def _sessions(trading: "Trading") -> "Finding":
    from trading_orchestration.services.standing_checks import check_sessions

    return check_sessions(trading.begin, trading.calendar)


def _fresh(trading: "Trading") -> "Finding":
    from trading_orchestration.services.snapshot_checks import check_fresh

    return check_fresh(trading.begin)


def _returns(trading: "Trading") -> "Finding":
    from trading_orchestration.services.snapshot_checks import check_returns

    return check_returns(trading.begin)


def _equity(trading: "Trading") -> "Finding":
    from trading_orchestration.services.snapshot_checks import check_equity

    accounts = ((account, trading.broker_of(account)) for account in trading.accounts())
    return check_equity(trading.begin, accounts, trading.clock())


def _complete(trading: "Trading") -> "Finding":
    from trading_orchestration.services.bars_check import check_complete

    return check_complete(trading.begin, trading.calendar)


def _days(trading: "Trading") -> "Finding":
    from trading_orchestration.services.bars_check import check_days

    return check_days(trading.begin, trading.calendar)


def _plausible(trading: "Trading") -> "Finding":
    from trading_orchestration.services.bars_check import check_plausible

    return check_plausible(trading.begin)


ALL = (
    Check(
        "quotes", "fresh", "Every wanted symbol has a quote of the last price update that was due.", _quotes
    ),
    Check(
        "positions", "equal_the_brokers", "The last comparison with the brokers left no difference.", _brokers
    ),
    Check(
        "positions",
        "equal_the_ledger",
        "Positions, cash, trades and snapshots are what fills, cash movements and adjustments add up to.",
        _ledger,
        is_of_books=True,
    ),
    Check(
        "portfolio_snapshots",
        "add_up",
        "Each total is its cash and the values of its positions.",
        _sums,
        is_of_books=True,
    ),
    Check(
        "portfolio_snapshots",
        "no_session_missing",
        "There is a snapshot of each session with bars since a portfolio was given money.",
        _sessions,
        is_of_books=True,
    ),
    Check(
        "portfolio_snapshots",
        "hold",
        "Each is what the ledger and the closes still say; one that is not is taken again within minutes.",
        _fresh,
    ),
    Check(
        "portfolio_snapshots",
        "returns_chain",
        "Each return is what the totals say, and they chain to the return since the start.",
        _returns,
        is_of_books=True,
    ),
    Check(
        "portfolio_snapshots",
        "equal_the_brokers",
        "An account's portfolios together are worth what its broker says, where it keeps a history.",
        _equity,
        is_of_books=True,
    ),
    Check(
        "daily_bars",
        "none_missing",
        "Every symbol has a bar in each session from its first to its last, or to the newest if it is held.",
        _complete,
        is_of_bars=True,
    ),
    Check(
        "daily_bars",
        "none_on_closed_days",
        "Every bar is of a session of the exchange.",
        _days,
        is_of_bars=True,
    ),
    Check(
        "daily_bars",
        "plausible",
        "No close jumps without a corporate action, stands alone, or was corrected by much; there is volume.",
        _plausible,
        is_of_bars=True,
        is_warning=True,
    ),
)


def _asset_check(check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=check.asset, name=check.name, description=check.description)
    def run(trading: TradingResource) -> dg.AssetCheckResult:
        opened = trading.open()
        told = Told.of(check.look(opened), opened.clock())
        return dg.AssetCheckResult(
            passed=not told.wrong,
            severity=_severity(check),
            description=told.sentence,
            metadata=told.metadata,
        )

    return run


CHECKS = [_asset_check(check) for check in ALL]


@dg.sensor(
    name="asset_checks_sensor",
    description="Looks at quotes and books every minute, and tells what changed as asset checks.",
    tags={tags.KEEPS: "checks"},
    minimum_interval_seconds=_INTERVAL_S,
    default_status=dg.DefaultSensorStatus.RUNNING,
)
def asset_checks_sensor(context: dg.SensorEvaluationContext, trading: TradingResource) -> dg.SensorResult:
    """No run is launched: what was found goes to the asset itself.

    Of an asset that was materialised since, the UI shows no check as evaluated: each is told again.
    """
    from trading_orchestration.services.standing_checks import Recovery, tell_of_checks

    opened, seen = trading.open(), Seen.read(context.cursor)
    newest, before = _newest_materialisations(context.instance), dict(seen.told)
    found = list(look(opened, seen))
    failed, recovered = {}, {}
    for evaluation in found:
        asset, name = evaluation.asset_key.to_user_string(), evaluation.check_name
        told = before.get(f"{asset}.{name}")
        if _is_wrong(evaluation):
            failed[f"{asset} {name}"] = evaluation.description or ""
        elif told is not None and told.wrong and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            recovered[f"{asset} {name}"] = Recovery(evaluation.description or "", told.at)
    tell_of_checks(opened.begin, failed, recovered, at=opened.clock())
    skip = f"{len(found)} checks have news." if found else "Nothing has changed."
    again = list(tell_again(seen, newest, news={e.asset_check_key for e in found}))
    return dg.SensorResult(asset_events=[*found, *again], skip_reason=skip, cursor=seen.text)


def report_checks(instance: dg.DagsterInstance, trading: "Trading") -> int:
    """Look at everything now and tell it to Dagster, without a sensor; answers how many checks failed."""
    found = list(look(trading, Seen()))
    for evaluation in found:
        instance.report_runless_asset_event(evaluation)
    return sum(map(_is_wrong, found))


@dataclass(frozen=True, slots=True)
class Told:
    """What a check said, with the instants (ISO) when it was told as news and when it was looked at.

    `problems` are the first of them, `wrong` is how many there are. `on` is Dagster's number of the
    materialisation that was the newest one when it was told.
    """

    at: str
    looked_at: str
    summary: str
    problems: list[str]
    wrong: int
    on: int | None = None

    @classmethod
    def of(cls, finding: "Finding", now: datetime) -> "Told":
        """What a finding comes to."""
        at, problems = now.isoformat(), list(finding.problems)
        return cls(at, at, finding.summary, problems[:_PROBLEMS_MAX], len(problems))

    def evaluation(self, check: Check) -> dg.AssetCheckEvaluation:
        """The same as the UI shows it."""
        return dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey(check.asset),
            check_name=check.name,
            passed=not self.wrong,
            severity=_severity(check),
            description=self.sentence,
            metadata=self.metadata,
        )

    @property
    def sentence(self) -> str:
        """What holds, or the first of what does not; the rest is in the metadata."""
        if not self.wrong:
            return self.summary
        rest = self.wrong - _PROBLEMS_TOLD
        told = " ".join(self.problems[:_PROBLEMS_TOLD])
        return f"{told} And {rest} more." if rest > 0 else told

    @property
    def metadata(self) -> "dict[str, dg.MetadataValue[Any]]":
        """The number of problems is plotted over time."""
        shown: dict[str, dg.MetadataValue[Any]] = {
            "looked at": dg.MetadataValue.text(self.summary),
            "when": dg.MetadataValue.timestamp(datetime.fromisoformat(self.looked_at)),
            "wrong": dg.MetadataValue.int(self.wrong),
        }
        if self.problems:
            shown["problems"] = dg.MetadataValue.md("\n".join(f"- {problem}" for problem in self.problems))
        return shown


@dataclass(slots=True)
class Seen:
    """The sensor's cursor: what each check said last; up to which snapshot run, and which bars."""

    told: dict[str, Told] = field(default_factory=dict)
    books: str | None = None
    bars: str | None = None

    @classmethod
    def read(cls, cursor: str | None) -> "Seen":
        """What the cursor says; what one of an older version told is told anew."""
        found = json.loads(cursor) if cursor else {"told": {}, "books": None}
        told = {key: Told(**value) for key, value in found["told"].items() if isinstance(value, dict)}
        return cls(told, found["books"], found.get("bars"))

    @property
    def text(self) -> str:
        """The cursor for the next evaluation."""
        told = {key: asdict(one) for key, one in self.told.items()}
        return json.dumps({"told": told, "books": self.books, "bars": self.bars})


def look(trading: "Trading", seen: Seen) -> "Iterator[dg.AssetCheckEvaluation]":
    """What is new since `seen`, which is brought up to now."""
    now, books, bars = trading.clock(), trading.monitoring.newest_snapshot_run(), _bars_version(trading)
    for check in ALL:
        is_as_it_was = (check.is_of_books and books == seen.books) or (check.is_of_bars and bars == seen.bars)
        before = seen.told.get(check.key)
        if is_as_it_was and before is not None:
            continue
        told = Told.of(check.look(trading), now)
        if before is None or _is_news(before, told, now):
            seen.told[check.key] = told
            yield told.evaluation(check)
        else:
            seen.told[check.key] = replace(told, at=before.at, on=before.on)
    seen.books, seen.bars = books, bars


def tell_again(
    seen: Seen, newest: Mapping[str, int | None], *, news: AbstractSet[dg.AssetCheckKey]
) -> "Iterator[dg.AssetCheckEvaluation]":
    """What checks said last, of assets that were materialised since and that are not in the news anyway.

    `newest` gives Dagster's number of each asset's newest materialisation. Nobody looks again for it.
    """
    for check in ALL:
        told, on = seen.told[check.key], newest.get(check.asset)
        if told.on == on:
            continue
        seen.told[check.key] = replace(told, on=on)
        if dg.AssetCheckKey(dg.AssetKey(check.asset), check.name) not in news:
            yield told.evaluation(check)


def _newest_materialisations(instance: dg.DagsterInstance) -> dict[str, int | None]:
    assets = [dg.AssetKey(asset) for asset in sorted({check.asset for check in ALL})]
    records = instance.get_asset_records(assets)
    return {
        record.asset_entry.asset_key.to_user_string(): record.asset_entry.last_materialization_storage_id
        for record in records
    }


def _bars_version(trading: "Trading") -> str:
    from trading_orchestration.store.bar_checks import bars_version

    with trading.begin() as connection:
        return bars_version(connection)


def _severity(check: Check) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if check.is_warning else dg.AssetCheckSeverity.ERROR


def _is_wrong(evaluation: dg.AssetCheckEvaluation) -> bool:
    return not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR


def _is_news(before: Told, told: Told, now: datetime) -> bool:
    was_told = datetime.fromisoformat(before.at)
    return before.problems != told.problems or now - was_told >= _TOLD_AGAIN_AFTER
