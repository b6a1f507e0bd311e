"""`trading report` on a week worked out by hand."""

from pathlib import Path

import pytest

from trading_orchestration_tests.cli.command import Trading


def test_writes_one_page_and_says_where(
    fixed_week: Trading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = fixed_week("report", "main")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("main.html: 4 sessions, ")
    assert [path.name for path in tmp_path.iterdir()] == ["main.html"]
    page = (tmp_path / "main.html").read_text()
    assert "2024-07-02 to 2024-07-08" in page
    assert "1,103.60" in page


def test_the_numbers_go_to_stdout_and_no_file_is_written(
    fixed_week: Trading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = fixed_week("report", "main", "--json", "--from", "2024-07-03", "--to", "2024-07-05").json
    assert list(tmp_path.iterdir()) == []
    assert found["performance"]["end_value"] == "1003.6"
    assert found["performance"]["trades"]["realised_pnl"] == "-55.4"
    assert [of["strategy"] for of in found["strategies"]] == ["trend", "reversal"]


def test_numbers_and_page_come_together_where_both_are_asked_for(fixed_week: Trading, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert fixed_week("report", "main", "--json", "--output", page).json["performance"]["portfolio"] == "main"
    assert page.read_text().startswith("<!doctype html>")


def test_the_benchmark_is_the_option_or_else_the_setting(
    fixed_week: Trading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def benchmark(*options: str) -> object:
        found = fixed_week("report", "main", "--json", *options).json["performance"]["benchmark"]
        return found and found["symbol"]

    assert benchmark() is None
    monkeypatch.setenv("TRADING_BENCHMARK", "aapl")
    assert benchmark() == "AAPL"
    assert benchmark("--benchmark", "spy") == "SPY"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nobody"], "no portfolio named 'nobody'"),
        (["main", "--from", "yesterday"], "--from was 'yesterday'"),
        (["main", "--from", "2024-07-09"], "main has no snapshot from 2024-07-09"),
        (["main", "--benchmark", "NOPE"], "NOPE"),
        (["main", "--output", "/nowhere/at/all.html"], "/nowhere/at/all.html cannot be written"),
        (["main", "--output", "/tmp"], "/tmp is a folder"),
    ],
)
def test_bad_input_is_one_sentence(fixed_week: Trading, arguments: list[str], sentence: str) -> None:
    ran = fixed_week("report", *arguments)
    assert ran.code == 2
    assert sentence in ran.error


def test_a_page_that_fails_halfway_leaves_the_old_one(
    fixed_week: Trading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    monkeypatch.setattr("pathlib.Path.write_bytes", lambda *_: 1 / 0)
    assert fixed_week("report", "main", "--output", page).code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "old"
