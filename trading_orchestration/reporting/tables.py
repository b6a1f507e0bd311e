"""Rows as CSV, which everything reads, or as Parquet, which keeps the types."""

import csv
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO

from trading_orchestration.domain.money import plain
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


def write_parquet(path: Path, fields: Sequence[Field], parts: Rows) -> int:
    """A row group a part, decimals as decimals, instants in UTC; answers the rows."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(field.name, _arrow_type(field)) for field in fields])
    count = 0
    with parquet.ParquetWriter(path, schema) as writer:
        for part in parts:
            columns = [list(column) for column in zip(*part, strict=True)]
            arrays = [pa.array(column, type=of.type) for column, of in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(part)
    return count


def _arrow_type(field: Field) -> Any:
    import pyarrow as pa

    makers: dict[Kind, Callable[[], Any]] = {
        Kind.TEXT: pa.string,
        Kind.JSON: pa.string,
        Kind.INTEGER: pa.int64,
        Kind.BOOLEAN: pa.bool_,
        Kind.DATE: pa.date32,
        Kind.DECIMAL: lambda: pa.decimal128(_PRECISION, field.places),
        Kind.INSTANT: lambda: pa.timestamp("us", tz="UTC"),
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
