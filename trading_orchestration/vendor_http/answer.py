"""A vendor's answer, and how its fields become exact values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from typing import Any

from trading_orchestration.domain.money import rounded
from trading_orchestration.vendor_http.failures import UnreadableAnswerError

EXCERPT_LENGTH = 80
#: NUMERIC(24,9) holds 15 digits before the point.
LARGEST_NUMBER = Decimal(10) ** 15


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers (lower case) and text of an answer, secrets already taken out of it."""

    vendor: str
    status: int
    text: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def content_type(self) -> str:
        """As the vendor named it, without parameters."""
        return self.headers.get("content-type", "no content type").split(";")[0].strip()

    def describe(self) -> str:
        """Status, content type and the beginning of the text, for a message."""
        excerpt = " ".join(self.text[:EXCERPT_LENGTH].split())
        return f"HTTP {self.status}, {self.content_type}: {excerpt!r}"

    def json(self) -> Any:
        """The JSON value, its numbers exact.

        Raises:
            UnreadableAnswerError: the text is not JSON, or holds NaN or an infinity.
        """
        try:
            return json.loads(self.text, parse_float=Decimal, parse_constant=_refuse_constant)
        except (ValueError, InvalidOperation, RecursionError):
            problem = f"{self.vendor} answered something that is not JSON ({self.describe()})."
        raise UnreadableAnswerError(problem)

    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The JSON array of objects; `UnreadableAnswerError` when it is anything else."""
        value = self.json()
        if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
            raise UnreadableAnswerError(f"{self.vendor} answered no list of objects ({self.describe()}).")
        return value

    def row(self) -> Mapping[str, Any]:
        """The JSON object; `UnreadableAnswerError` when it is anything else."""
        value = self.json()
        if not isinstance(value, dict):
            raise UnreadableAnswerError(f"{self.vendor} answered no JSON object ({self.describe()}).")
        return value

    def error_row(self) -> Mapping[str, Any] | None:
        """The JSON object that explains a refusal, or None where the text is something else."""
        try:
            return self.row()
        except UnreadableAnswerError:
            return None

    def retry_at(self, now: datetime) -> datetime | None:
        """When the vendor wants to be asked again, from `Retry-After` or `X-RateLimit-Reset` (UTC)."""
        after = self.headers.get("retry-after", "")
        if after.isdecimal():
            return now + timedelta(seconds=min(int(after), 86_400))
        try:
            return parsedate_to_datetime(after).astimezone(UTC)
        except ValueError:
            return self._reset_at()

    def is_last_of_its_minute(self) -> bool:
        """The vendor counts no further request before its reset."""
        return self.headers.get("x-ratelimit-remaining") == "0"

    def _reset_at(self) -> datetime | None:
        reset = self.headers.get("x-ratelimit-reset", "")
        if not reset.isdecimal() or len(reset) > 11:
            return None
        return datetime.fromtimestamp(int(reset), tz=UTC)


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def read_text(row: Mapping[str, Any], key: str) -> str:
    """A text that must be there and not empty; `UnreadableAnswerError` otherwise."""
    value = row.get(key)
    if not isinstance(value, str) or not value:
        raise UnreadableAnswerError(f"The field {key} was {_short(value)} instead of a text.")
    return value


def read_number(row: Mapping[str, Any], key: str) -> Decimal:
    """A number to nine places that must be there; vendors write it as a text or as a number."""
    value = read_optional_number(row, key)
    if value is None:
        raise UnreadableAnswerError(f"The field {key} was missing; it must be a number.")
    return value


def read_optional_number(row: Mapping[str, Any], key: str) -> Decimal | None:
    """A number to nine places, as the database keeps them, or None where the vendor has none."""
    value = row.get(key)
    if value is None:
        return None
    number = _decimal(value)
    if number is None:
        raise UnreadableAnswerError(f"The field {key} was {_short(value)} instead of a number.")
    return number


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return rounded(number) if number.is_finite() and abs(number) < LARGEST_NUMBER else None


def read_instant(row: Mapping[str, Any], key: str) -> datetime:
    """An instant with its offset, in UTC; digits after the microsecond are cut off."""
    try:
        instant = datetime.fromisoformat(read_text(row, key))
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UnreadableAnswerError(
            f"The field {key} was {_short(row[key])} instead of an instant with offset."
        )
    return instant.astimezone(UTC)


def _short(value: Any) -> str:
    return repr(value)[:40]
