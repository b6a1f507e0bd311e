"""What a statement answered: rows by column name, the first value of each, or rows as named tuples."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar, cast

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import RowMapping
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

Entry = TypeVar("Entry")


class Entries(list[Entry]):
    """All rows of an answer."""

    def all(self) -> list[Entry]:
        """The same as a list."""
        return self

    def first(self) -> Entry | None:
        """The first, if there is one."""
        return self[0] if self else None

    def one(self) -> Entry:
        """The only one; raises NoResultFound and MultipleResultsFound."""
        if not self:
            raise NoResultFound("No row was found when one was required")
        return self._only()

    def one_or_none(self) -> Entry | None:
        """The only one, if there is one; raises MultipleResultsFound."""
        return self._only() if self else None

    def _only(self) -> Entry:
        if len(self) > 1:
            raise MultipleResultsFound("Multiple rows were found when exactly one was required")
        return self[0]


class Answer:
    """What one statement answered; its rows are read once, in one of these ways."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    @property
    def rowcount(self) -> int:
        """How many rows were answered or changed."""
        return self._cursor.rowcount

    def mappings(self) -> Entries[RowMapping]:
        """Rows by column name."""
        names = [column.name for column in self._cursor.description or ()]
        rows = (dict(zip(names, row, strict=True)) for row in self._fetched())
        return Entries(cast("Iterator[RowMapping]", rows))

    def scalars(self) -> Entries[Any]:
        """The first value of each row."""
        return Entries(row[0] for row in self._fetched())

    def scalar(self) -> Any | None:
        """The first value of the first row; None without one."""
        row = self._cursor.fetchone() if self._cursor.description else None
        return None if row is None else row[0]

    def scalar_one(self) -> Any:
        """The value of the only row; raises NoResultFound and MultipleResultsFound."""
        return self.scalars().one()

    def all(self) -> Entries[Any]:
        """Rows as named tuples."""
        return Entries(self)

    def one(self) -> Any:
        """The only row as a named tuple; raises NoResultFound and MultipleResultsFound."""
        return self.all().one()

    def one_or_none(self) -> Any:
        """The only row as a named tuple, if there is one."""
        return self.all().one_or_none()

    def first(self) -> Any:
        """The first row as a named tuple, if there is one."""
        return self.all().first()

    def __iter__(self) -> Iterator[Any]:
        make = cast("Callable[[Any], NamedTuple]", namedtuple_row(self._cursor))
        return iter([make(row) for row in self._fetched()])

    def _fetched(self) -> list[tuple[Any, ...]]:
        return self._cursor.fetchall() if self._cursor.description else []
