"""What a running system does beside its processes: its database, its special hours, what people are told."""

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from trading_orchestration.domain.market_time import MarketCalendar
from trading_orchestration.errors import DatabaseError, SettingsError
from trading_orchestration.settings import Settings
from trading_orchestration.store.alerts import Notification, Severity, add_notifications
from trading_orchestration.store.database import Engine, transaction
from trading_orchestration.wiring import open_calendar, system_clock

_DATABASE_EVERY_S = 2.0
#: How long the last messages may take to be kept at the end.
_LAST_WORDS_S = 3.0


class Reporter:
    """Tells people what happened to the system: at once where it runs, and through the notifications.

    Nobody waits for the database here; without it the words are in the log alone.
    """

    def __init__(self, engine: Engine, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    def report(self, sentence: str) -> None:
        """Tell, and keep for people."""
        self._tell(sentence)
        self._waiting.put(sentence)

    def close(self) -> None:
        """Keep what is left, if that can be done quickly."""
        self._waiting.put(None)
        self._writer.join(_LAST_WORDS_S)

    def _write_all(self) -> None:
        while (sentence := self._waiting.get()) is not None:
            at = system_clock()
            message = Notification(
                severity=Severity.WARNING,
                kind="system",
                title=sentence,
                dedupe_key=f"system:{at.isoformat()}:{sentence}",
            )
            try:
                with transaction(self._engine) as connection:
                    add_notifications(connection, [message], at=at)
            except DatabaseError as error:
                self._tell(f"That could not be kept as a notification: {error}")


class DatabaseKeeper:
    """Brings the embedded PostgreSQL back when it is gone, for as long as the system runs."""

    def __init__(self, ensure_running: Callable[[], None], report: Callable[[str], None]) -> None:
        self._ensure_running = ensure_running
        self._report = report
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look after it no more."""
        self._is_over.set()

    def _keep(self) -> None:
        was_gone = False
        while not self._is_over.wait(_DATABASE_EVERY_S):
            began = time.monotonic()
            try:
                self._ensure_running()
            except DatabaseError as error:
                if not was_gone:
                    self._report("The database is gone: " + str(error).partition("\n")[0])
                was_gone = True
            else:
                if was_gone or time.monotonic() - began > _DATABASE_EVERY_S:
                    self._report("The database had to be waited for and is there again.")
                was_gone = False


@dataclass(slots=True)
class HoursWatch:
    """The calendar of a running system, which follows its file of special hours.

    `changed` is called when the file was read and found good; until then the hours stay as they were.
    """

    settings: Settings
    calendar: MarketCalendar
    changed: Callable[[], None]
    report: Callable[[str], None]
    _stamp: tuple[int, int] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._stamp = self._read_stamp()

    def look(self) -> None:
        """See whether the file is another."""
        stamp = self._read_stamp()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self.calendar = open_calendar(self.settings)
        except SettingsError as error:
            self.report(f"{error} Schedules keep the hours of before; runs fail until it is mended.")
        else:
            self.changed()

    def _read_stamp(self) -> tuple[int, int] | None:
        file = self.settings.hours_file
        try:
            found = file.stat() if file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size) if found else None
