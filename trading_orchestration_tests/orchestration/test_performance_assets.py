"""The performance assets on real books: what the UI shows of them, and that they leave no trace elsewhere."""

import base64
from typing import Any

import dagster as dg
import pytest

from trading_orchestration.orchestration.performance_assets import (
    portfolio_performance,
    strategy_attribution,
)
from trading_orchestration.orchestration.resources import TradingResource
from trading_orchestration_tests.orchestration.conftest import ON_DAGSTER, Installation

pytestmark = ON_DAGSTER

PNG = b"\x89PNG\r\n"


def materialise(installation: Installation, asset: dg.AssetsDefinition) -> dict[str, Any]:
    """Materialise one asset and answer its metadata."""
    result = dg.materialize([asset], instance=installation.instance, resources={"trading": TradingResource()})
    (found,) = installation.materialisations(result.run_id)
    return dict(found.metadata)


def rows_of(value: Any) -> list[dict[str, Any]]:
    return [record.data for record in value.records]


def pictures_in(metadata: dict[str, Any]) -> set[str]:
    shown = set()
    for name, value in metadata.items():
        if isinstance(value, dg.MarkdownMetadataValue):
            encoded = (value.value or "").split("base64,")[1].rstrip(")")
            assert base64.b64decode(encoded).startswith(PNG)
            shown.add(name)
    return shown


def test_both_are_downstream_of_the_snapshots(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    snapshots = {dg.AssetKey("portfolio_snapshots")}
    for name in ("portfolio_performance", "strategy_attribution"):
        node = graph.get(dg.AssetKey(name))
        assert (node.parent_keys, node.group_name, node.is_partitioned) == (snapshots, "performance", False)


def test_performance_shows_every_portfolio_with_figures_and_pictures(traded: Installation) -> None:
    found = materialise(traded, portfolio_performance)
    (overview,) = rows_of(found["overview"])
    last = traded.ask("SELECT total_value FROM portfolio_snapshots ORDER BY session DESC LIMIT 1")[0]
    assert overview["portfolio"] == "growth"
    assert overview["value"] == f"{last['total_value']:,.2f}"
    assert found["growth: value"].value == round(float(last["total_value"]), 2)
    figures = {row["figure"]: row["value"] for row in rows_of(found["growth: figures"])}
    assert figures["value at the end"] == overview["value"]
    assert figures["VaR 99 %"] == "–"
    assert pictures_in(found) == {f"growth: {n}" for n in ("equity", "months", "allocation", "trades")}
    assert "less than a year" in found["growth: notes"].value


def test_attribution_lists_every_strategy(traded: Installation) -> None:
    found = materialise(traded, strategy_attribution)
    assert [(row["portfolio"], row["strategy"]) for row in rows_of(found["strategies"])] == [
        ("growth", "trend")
    ]
    assert pictures_in(found) == {"earned"}


@pytest.mark.parametrize("asset", [portfolio_performance, strategy_attribution])
def test_an_installation_without_snapshots_has_an_empty_table(
    installation: Installation, asset: dg.AssetsDefinition
) -> None:
    assert pictures_in(materialise(installation, asset)) == set()


def test_a_benchmark_that_is_not_there_fails_in_one_sentence(traded: Installation) -> None:
    traded.settings = traded.settings.model_copy(update={"trading_benchmark": "NOPE"})
    result = dg.materialize(
        [portfolio_performance],
        instance=traded.instance,
        resources={"trading": TradingResource()},
        raise_on_error=False,
    )
    (failure,) = result.get_step_failure_events()
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "NOPE" in (data.description or "")


def test_they_are_no_job_and_are_not_recorded(traded: Installation) -> None:
    before = traded.ask("SELECT count(*) AS n FROM job_executions")
    materialise(traded, portfolio_performance)
    traded.record_runs()
    assert traded.ask("SELECT count(*) AS n FROM job_executions") == before


def test_an_event_stays_small_however_many_portfolios_there_are(
    traded: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trading_orchestration.orchestration.performance_assets._PICTURED_MAX", 0)
    found = materialise(traded, portfolio_performance)
    assert pictures_in(found) == set()
    assert len(rows_of(found["overview"])) == 1
