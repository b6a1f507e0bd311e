"""What `trading doctor` asks the database server."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from trading_orchestration.store.database import run


@dataclass(frozen=True, slots=True)
class ServerState:
    """Which PostgreSQL answers (150004 is 15.4), and what time it has (UTC)."""

    version_number: int
    version: str
    now: datetime


def server_state(connection: Connection) -> ServerState:
    """The server as it is now."""
    return ServerState(**run(connection, "server_state").mappings().one())
