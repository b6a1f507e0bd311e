"""YAML files that people write: UTF-8, one document, nothing shared, tagged or repeated; mistakes by line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent, NodeEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trading_orchestration.errors import InvalidInputError

DEPTH_MAX = 10


def read_text(path: Path, *, bytes_max: int, subject: str) -> str:
    """The text of a file no larger than `subject` ("a strategy") ever is. Raises `InvalidInputError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}.") from error
    if len(content) > bytes_max:
        raise InvalidInputError(f"{path.name} has {len(content)} bytes; {subject} has at most {bytes_max}.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InvalidInputError(f"{path.name} line {line}: this is not UTF-8 text.") from error


def plain_node(text: str, path: Path) -> Node | None:
    """The one document of a file with its line numbers, or None when it is empty.

    Raises `InvalidInputError` naming file and line of what is not plain YAML.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        _refuse_what_is_not_plain(yaml.parse(text), path)
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, ValueError) as error:
        raise in_words(error, path) from None
    if node is not None:
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


def in_words(error: Exception, path: Path) -> InvalidInputError:
    """What the parser says, as one sentence with file and line."""
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        problem = " ".join(str(part) for part in (error.context, error.problem) if part)
        return InvalidInputError(f"{path.name}{where}: this is not YAML: {problem}.")
    return InvalidInputError(f"{path.name}: this is not YAML: {' '.join(str(error).split())}.")
