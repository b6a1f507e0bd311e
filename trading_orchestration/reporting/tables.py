"""Rows as CSV, which everything reads, or as Parquet, which keeps the types."""

import csv
import importlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from trading_orchestration.domain.money import plain
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store.exports import Field, Kind

Rows = Iterable[Sequence[Sequence[Any]]]
#: Digits of a decimal in Parquet, before and after the point.
_PRECISION = 38


def write_csv(file: TextIO, fields: Sequence[Field], parts: Rows) -> int:
    """A heading and a line a row: decimals plain, instants in UTC, nothing for NULL; answers the rows."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([field.name for field in fields])
    count = 0
    for part in parts:
        writer.writerows([_text(value) for value in row] for row in part)
        count += len(part)
    return count


def require_parquet() -> Any:
    """`pyarrow`; raises InvalidInputError, with how to get it, where it is not installed."""
    try:
        return importlib.import_module("pyarrow")
    except ImportError:
        raise InvalidInputError(
            "Parquet needs pyarrow, which is not installed here; `.venv/bin/pip install pyarrow` brings it, "
            "--format csv does without."
        ) from None


def write_parquet(path: Path, fields: Sequence[Field], parts: Rows) -> int:
    """A row group a part, decimals as decimals, instants in UTC; answers the rows. Raises as above."""
    arrow = require_parquet()
    parquet = importlib.import_module("pyarrow.parquet")
    schema = arrow.schema([(field.name, _arrow_type(arrow, field)) for field in fields])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            columns = [list(column) for column in zip(*part, strict=True)]
            arrays = [arrow.array(column, type=of.type) for column, of in zip(columns, schema, strict=True)]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            count += len(part)
    return count


def _arrow_type(arrow: Any, field: Field) -> Any:
    makers: dict[Kind, Callable[[], Any]] = {
        Kind.TEXT: arrow.string,
        Kind.JSON: arrow.string,
        Kind.INTEGER: arrow.int64,
        Kind.BOOLEAN: arrow.bool_,
        Kind.DATE: arrow.date32,
        Kind.DECIMAL: lambda: arrow.decimal128(_PRECISION, field.places),
        Kind.INSTANT: lambda: arrow.timestamp("us", tz="UTC"),
    }
    return makers[field.kind]()


def _text(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    return value
