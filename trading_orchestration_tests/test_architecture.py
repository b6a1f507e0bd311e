"""The house rules, held by a test: small functions, small files, no drawers for everything."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "trading_orchestration"
FILES = sorted(PACKAGE.rglob("*.py"))
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 400
DRAWERS = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}


def test_there_is_something_to_check() -> None:
    assert len(FILES) > 50


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_functions_and_files_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    long_functions = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long_functions == []
    assert text.count("\n") <= FILE_LINES_MAX


def test_no_file_is_a_drawer_for_everything() -> None:
    assert [path.name for path in FILES if path.stem in DRAWERS] == []


def test_packages_are_listed_for_installation() -> None:
    """A folder that pyproject.toml does not list would be missing from a wheel."""
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    assert found | {"trading_orchestration.sql"} == set(configured)


def test_the_lock_names_versions_and_hashes_and_no_index() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line or "index" in line]
    pinned = [line for line in lines if line and not line.startswith((" ", "#"))]
    assert pinned
    assert all("==" in line for line in pinned)
    assert sum("--hash=sha256:" in line for line in lines) >= len(pinned)


def test_the_instance_configuration_at_the_top_is_the_packaged_one() -> None:
    assert (ROOT / "dagster.yaml").read_text() == (PACKAGE / "dagster.yaml").read_text()
