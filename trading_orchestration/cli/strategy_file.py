"""Reads a strategy from a YAML file and tells a mistake by file, line and key."""

from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from trading_orchestration.domain.strategy import (
    StrategyDefinition,
    StrategyDefinitionError,
    parse_definition,
)
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.plain_yaml import in_words, plain_node, read_text

#: No strategy a person writes is larger; 5,000 symbols take less than half of it.
SIZE_MAX = 200_000


def read_strategy_file(path: Path) -> StrategyDefinition:
    """The strategy in a YAML file. Raises `InvalidInputError` naming file, line and key of a mistake."""
    text = read_text(path, bytes_max=SIZE_MAX, subject="a strategy")
    node = plain_node(text, path)
    if node is None:
        raise InvalidInputError(f"{path.name} is empty; it should hold a strategy.")
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise in_words(error, path) from None
    try:
        return parse_definition(data)
    except StrategyDefinitionError as error:
        raise InvalidInputError(f"{path.name} line {_line(node, error.path)}: {error}") from None


def _line(node: Node, path: Sequence[str | int]) -> int:
    """The line, from 1, of the value at the path, or of the deepest part of the path that is there."""
    line = node.start_mark.line + 1
    for step in path:
        if isinstance(node, MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(step)), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int) and step < len(node.value):
            entry = (node.value[step], node.value[step])
        else:
            entry = None
        if entry is None:
            break
        line, node = entry[0].start_mark.line + 1, entry[1]
    return int(line)
