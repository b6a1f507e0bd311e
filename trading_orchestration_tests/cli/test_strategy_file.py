from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trading_orchestration.cli.strategy_file import read_strategy_file
from trading_orchestration.domain.price import Timeframe
from trading_orchestration.domain.sizing import Sizing
from trading_orchestration.domain.strategy import StrategyDefinition, parse_definition
from trading_orchestration.errors import InvalidInputError

EXAMPLES = Path(__file__).parents[2] / "examples" / "strategies"

GOOD = """\
# A comment, as a person writes it.
name: trend
universe: [AAPL, ON]   # ON is a symbol and not "yes"
factors:
  - name: momentum
    weight: 2
    parameters:
      lookback: 60
  - name: rsi
buy_threshold: 0.3
sell_threshold: -0.3
sizing:
  percent: 12.5
"""


def refusal(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "trend.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InvalidInputError) as refused:
        read_strategy_file(path)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trend.yaml"
    path.write_text(GOOD)
    read = read_strategy_file(path)
    assert (read.name, read.universe, read.timeframe) == ("trend", ("AAPL", "ON"), Timeframe.DAY)
    assert [(use.name, use.weight) for use in read.factors] == [("momentum", 2), ("rsi", 1)]
    assert read.sizing == Sizing(percent=Decimal("12.5"))


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "trend.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    assert read_strategy_file(path).name == "trend"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_is_a_strategy(path: Path) -> None:
    read = read_strategy_file(path)
    assert parse_definition(read.to_json()) == read
    assert f"examples/strategies/{path.name}" in path.read_text(encoding="utf-8")


def test_there_are_examples() -> None:
    assert len(list(EXAMPLES.glob("*.yaml"))) >= 3


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "name: momentum",
            "name: momentun",
            (
                "trend.yaml line 5: factors[0].name was 'momentun'; known: macd, mean_reversion, momentum, "
                "moving_average_crossover, rsi; did you mean 'momentum'?"
            ),
        ),
        (
            "lookback: 60",
            "lookbak: 60",
            "trend.yaml line 8: factors[0].parameters.lookbak is not a key here;",
        ),
        ("lookback: 60", "lookback: 0", "trend.yaml line 8: factors[0].parameters.lookback was 0;"),
        ("- name: rsi", "- weight: 1", "trend.yaml line 9: factors[1].name is missing."),
        (
            "- name: rsi",
            "- name: momentum",
            "trend.yaml line 9: factors[1] repeats 'momentum'; name it once.",
        ),
        (
            "buy_threshold: 0.3",
            "buy_threshold: .nan",
            "trend.yaml line 10: buy_threshold was nan; it should be",
        ),
        ("buy_threshold: 0.3\n", "", "trend.yaml line 2: buy_threshold is missing."),
        (
            "percent: 12.5",
            "percent: 0",
            "trend.yaml line 13: sizing.percent was 0; it should be greater than 0.",
        ),
        ("percent: 12.5", "shares: 1\n  percent: 12.5", "trend.yaml line 12: sizing takes either percent or"),
        (
            "[AAPL, ON]",
            "\n  - AAPL\n  - TRUE",
            "trend.yaml line 5: universe[1] was True; it should be text; put",
        ),
        (
            "[AAPL, ON]",
            "[AAPL, 7203]",
            "trend.yaml line 3: universe[1] was 7203; it should be text; put it in",
        ),
        (
            "name: trend",
            "name: 2024-01-01",
            "trend.yaml line 2: name was datetime.date(2024, 1, 1); it should",
        ),
        (
            "sell_threshold",
            "buy_threshold",
            "trend.yaml line 11: buy_threshold stands there already, in line 10.",
        ),
        (
            "    weight: 2\n",
            "    weight: 2\n    weight: 3\n",
            "trend.yaml line 7: weight stands there already, in line 6.",
        ),
        ("[AAPL, ON]", "&all [AAPL, ON]", "trend.yaml line 3: anchors and aliases are not read;"),
        ("[AAPL, ON]", "*all", "trend.yaml line 3: anchors and aliases are not read;"),
        ("name: trend", "name: !!python/name:os.system", "trend.yaml line 2: the tag"),
        ("factors:", "factors: {", "trend.yaml line 5: this is not YAML:"),
        ("name: trend", "\tname: trend", "trend.yaml line 2: this is not YAML:"),
        ("name: trend", "? [a, b]\n: c", "trend.yaml line 2: a key should be a plain word."),
        ("name: trend", "1: trend", "trend.yaml line 2: [1] was 1; keys should be strings."),
    ],
)
def test_a_mistake_is_told_by_file_line_and_key(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert GOOD.count(old) >= 1
    assert refusal(tmp_path, GOOD.replace(old, new, 1)).startswith(sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "trend.yaml is empty; it should hold a strategy."),
        ("# nothing but a comment\n", "trend.yaml is empty; it should hold a strategy."),
        ("---\n", "trend.yaml line 2: A strategy is a mapping of keys to values, not None."),
        ("just text\n", "trend.yaml line 1: A strategy is a mapping of keys to values, not 'just text'."),
        ("- a\n- b\n", "trend.yaml line 1: A strategy is a mapping of keys to values, not ['a', 'b']."),
        (GOOD + "---\nname: second\n", "trend.yaml line 14: this is not YAML: expected a single document"),
        (b"name: a\nuniverse: \xff\n", "trend.yaml line 2: this is not UTF-8 text."),
        (b"name: \x00\n", "trend.yaml: this is not YAML: unacceptable character"),
        ("[" * 5000, "trend.yaml line 1: this is nested more than 10 deep."),
        ("name: " + "9" * 5000, "trend.yaml: this is not YAML: Exceeds the limit (4300 digits)"),
        ("name: 2001-13-45", "trend.yaml: this is not YAML: month must be in 1..12"),
        ("#" * 200_001, "trend.yaml has 200001 bytes; a strategy has at most 200000."),
    ],
    ids=range(12),
)
def test_a_file_that_holds_no_strategy_is_refused(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    assert refusal(tmp_path, text).startswith(sentence)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nope\.yaml cannot be read: No such file or directory\."):
        read_strategy_file(tmp_path / "nope.yaml")
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory"):
        read_strategy_file(tmp_path)


def test_the_largest_universe_fits_into_a_file(tmp_path: Path) -> None:
    symbols = ", ".join(f"S{number:05}" for number in range(5000))
    path = tmp_path / "trend.yaml"
    path.write_text(GOOD.replace("AAPL, ON", symbols))
    assert len(read_strategy_file(path).universe) == 5000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(
    position=st.integers(0, len(GOOD)),
    removed=st.integers(0, 12),
    added=st.text(alphabet="ab0: -[]{}\n\t#&*!|>'\"%@`?,.", max_size=6),
)
def test_any_slip_of_the_pen_is_read_or_refused_in_one_sentence(
    tmp_path: Path, position: int, removed: int, added: str
) -> None:
    path = tmp_path / "trend.yaml"
    path.write_text(GOOD[:position] + added + GOOD[position + removed :])
    outcome = read_or_refused(path)
    assert isinstance(outcome, StrategyDefinition) or outcome.startswith("trend.yaml")


def read_or_refused(path: Path) -> StrategyDefinition | str:
    try:
        return read_strategy_file(path)
    except InvalidInputError as error:
        return str(error)
