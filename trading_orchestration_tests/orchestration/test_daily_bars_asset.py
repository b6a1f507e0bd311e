"""Daily bars as people and the sensor materialise them: a range at once, of closed sessions only."""

from datetime import date, timedelta

import dagster as dg
import pytest

from trading_orchestration.orchestration.daily_bars import daily_bars_sensor
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration.settings import PriceSourceName
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER


def materialise(installation: Installation, first: str, last: str) -> dg.ExecuteInProcessResult:
    """What the asset page launches for a range of partitions."""
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    job = installation.definitions.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(
        instance=installation.instance,
        asset_selection=[dg.AssetKey("daily_bars")],
        raise_on_error=False,
        tags=tags,
    )


def test_a_range_is_one_run_with_a_materialisation_a_session(traded: Installation) -> None:
    traded.change("DELETE FROM bars WHERE symbol = 'IBM' AND session = '2012-11-07'")
    result = materialise(traded, "2012-11-05", "2012-11-08")
    assert result.success
    found = {
        event.partition: {name: value.value for name, value in event.metadata.items()}
        for event in traded.materialisations(result.run_id)
    }
    assert set(found) == {"2012-11-05", "2012-11-06", "2012-11-07", "2012-11-08"}
    assert found["2012-11-06"]["bars"] == found["2012-11-06"]["symbols"] == 4
    assert (found["2012-11-07"]["bars"], found["2012-11-07"]["missing"]) == (3, "IBM")


def test_a_session_that_has_not_closed_is_refused_in_a_sentence(traded: Installation) -> None:
    traded.at -= timedelta(hours=2)
    result = materialise(traded, "2012-11-08", "2012-11-08")
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.description is not None
    assert "2012-11-08 closes at 2012-11-08 21:00 UTC; it has no bars before." in failure.description
    rest = materialise(traded, "2012-11-06", "2012-11-08")
    assert rest.success
    assert [m.partition for m in traded.materialisations(rest.run_id)] == ["2012-11-06", "2012-11-07"]


def evaluate(installation: Installation) -> dg.RunRequest | str:
    context = dg.build_sensor_context(instance=installation.instance)
    found = daily_bars_sensor(context, trading=TradingResource())
    if isinstance(found, dg.SkipReason):
        return found.skip_message or ""
    assert isinstance(found, dg.RunRequest)
    return found


def test_the_sensor_says_why_it_fetches_nothing(
    traded: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert evaluate(traded) == "Bars come from files here (TRADING_PRICE_SOURCE is stored)."
    _ask_alpaca(traded, monkeypatch)
    assert evaluate(traded) == "portfolio_snapshot is switched off; nobody waits for bars."


def test_the_sensor_asks_for_a_session_after_its_close_and_later_for_corrections(
    traded: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask_alpaca(traded, monkeypatch)
    traded.change("UPDATE scheduled_jobs SET scheduled_since = 'epoch' WHERE job_type = 'portfolio_snapshot'")
    closes_at = traded.open().calendar.session(date(2012, 11, 8)).closes_at
    traded.at = closes_at + timedelta(minutes=3)
    request = evaluate(traded)
    assert isinstance(request, dg.RunRequest)
    assert request.run_key == "2012-11-08/1"
    assert request.tags["dagster/asset_partition_range_start"] == "2012-11-08"
    traded.at = closes_at + timedelta(minutes=25)
    assert evaluate(traded) == "The bars of the last session are here."
    traded.at = closes_at + timedelta(hours=5)
    request = evaluate(traded)
    assert isinstance(request, dg.RunRequest)
    assert (request.run_key, request.tags["dagster/asset_partition_range_start"]) == (
        "2012-11-08/4",
        "2012-11-05",
    )


def _ask_alpaca(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(_self: TradingResource) -> object:
        trading = installation.open()
        (stored,) = trading.price_data.sources
        stored.name = PriceSourceName.ALPACA
        return trading

    monkeypatch.setattr(TradingResource, "open", opened)
