"""Reads a strategy from a YAML file and tells a mistake by file, line and key."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trading_orchestration.domain.strategy import (
    StrategyDefinition,
    StrategyDefinitionError,
    parse_definition,
)
from trading_orchestration.errors import InvalidInputError

#: No strategy a person writes is larger; 5,000 symbols take less than half of it.
SIZE_MAX = 200_000
DEPTH_MAX = 10


def read_strategy_file(path: Path) -> StrategyDefinition:
    """The strategy in a YAML file. Raises `InvalidInputError` naming file, line and key of a mistake."""
    text = _text(path)
    node = _node(text, path)
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise _in_words(error, path) from None
    try:
        return parse_definition(data)
    except StrategyDefinitionError as error:
        raise InvalidInputError(f"{path.name} line {_line(node, error.path)}: {error}") from None


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > SIZE_MAX:
        raise InvalidInputError(f"{path.name} has {len(content)} bytes; a strategy has at most {SIZE_MAX}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInputError(f"{path.name} line {line}: this is not UTF-8 text.") from error


def _node(text: str, path: Path) -> Node:
    """The file's one document with its line numbers; nothing in it is shared, tagged or repeated."""
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_what_is_not_plain(yaml.parse(text), path)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, ValueError) as error:
        raise _in_words(error, path) from None
    if node is None:
        raise InvalidInputError(f"{path.name} is empty; it should hold a strategy.")
    _refuse_repeated_keys(node, path)
    return node


def _refuse_what_is_not_plain(events: Iterable[Any], path: Path) -> None:
    depth = 0
    for event in events:
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        where = f"{path.name} line {event.start_mark.line + 1}"
        if depth > DEPTH_MAX:
            raise InvalidInputError(f"{where}: this is nested more than {DEPTH_MAX} deep.")
        if isinstance(event, NodeEvent) and event.anchor is not None:
            raise InvalidInputError(f"{where}: anchors and aliases are not read; write the value out.")
        if getattr(event, "tag", None) is not None:
            raise InvalidInputError(f"{where}: the tag {event.tag} is not read; write a plain value.")


def _refuse_repeated_keys(node: Node, path: Path) -> None:
    if isinstance(node, SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, ScalarNode):
                raise InvalidInputError(f"{path.name} line {line}: a key should be a plain word.")
            if key.value in seen:
                raise InvalidInputError(
                    f"{path.name} line {line}: {key.value} stands there already, in line {seen[key.value]}."
                )
            seen[key.value] = line
            _refuse_repeated_keys(value, path)


def _in_words(error: Exception, path: Path) -> InvalidInputError:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        return InvalidInputError(f"{path.name}{where}: this is not YAML: {problem}.")
    return InvalidInputError(f"{path.name}: this is not YAML: {' '.join(str(error).split())}.")


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
