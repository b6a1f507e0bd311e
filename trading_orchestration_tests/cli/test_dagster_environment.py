"""What Dagster's own commands are told of an installation."""

from pathlib import Path

import pytest

from trading_orchestration.cli.dagster_environment import dagster_environment
from trading_orchestration.errors import SettingsError
from trading_orchestration.settings import Settings
from trading_orchestration.store.installed import DatabaseUrls

URLS = DatabaseUrls(
    trading="postgresql://me:secret@127.0.0.1:5432/trading",
    dagster="postgresql://me:secret@127.0.0.1:5432/dagster",
)


def test_dagster_is_told_absolute_folders_and_a_psycopg2_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = dagster_environment(Settings(trading_home=Path("here")), URLS)
    assert environment == {
        "TRADING_HOME": str(tmp_path / "here"),
        "DAGSTER_HOME": str(tmp_path / "here" / "dagster"),
        "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://me:secret@127.0.0.1:5432/dagster",
    }


def test_dagsters_home_has_the_packaged_instance_file(tmp_path: Path) -> None:
    home = Path(dagster_environment(Settings(trading_home=tmp_path), URLS)["DAGSTER_HOME"])
    assert "TradingStorage" in (home / "dagster.yaml").read_text()
    assert [file.name for file in home.iterdir()] == ["dagster.yaml"]


def test_a_link_to_an_installation_that_moved_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").symlink_to(tmp_path / "gone.yaml")
    dagster_environment(Settings(trading_home=tmp_path), URLS)
    assert "TradingStorage" in (tmp_path / "dagster" / "dagster.yaml").read_text()


def test_an_instance_file_that_a_person_wrote_stays(tmp_path: Path) -> None:
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "dagster.yaml").write_text("# mine")
    dagster_environment(Settings(trading_home=tmp_path), URLS)
    assert (tmp_path / "dagster" / "dagster.yaml").read_text() == "# mine"


def test_a_home_that_cannot_be_written_is_told_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="set TRADING_HOME to a folder you may write to"):
        dagster_environment(Settings(trading_home=tmp_path / "file" / "home"), URLS)
