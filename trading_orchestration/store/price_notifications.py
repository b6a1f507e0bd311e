"""Changed prices between processes: one NOTIFY a batch, and a listener that misses none.

The notification carries the batch's number and, where they fit, the symbols that changed; never prices.
The listener reads the rows of those symbols from `quotes`, by primary key. PostgreSQL limits a payload to
8,000 bytes: 500 symbols fit, 5,000 do not, and a batch of that size is most of the table, so it carries its
number alone and the listener reads the table whole (5,000 rows, about 20 ms). That is why `quotes` needs no
column naming the batch that wrote a row: an index on such a column would end HOT updates of the hottest
table, "changed since number N" would still miss batches that commit out of order, and every writer of
`quotes` would have to set it.

Numbers come from a sequence, so a rolled-back batch leaves a gap and two writers may commit in the other
order. Neither loses a price: a gap makes the listener read everything, and a number that comes late is read
like any other. What is read is always the newest committed row, so reading it twice does no harm.
"""

from collections.abc import Sequence
from typing import cast

import sqlalchemy as sa

from trading_orchestration.store.database import query

Connection = sa.Connection

# PostgreSQL refuses 8,000 bytes and more; a batch number takes up to 19 of them.
MAX_NAMES_BYTES = 7_900


def publish_price_batch(connection: Connection, symbols: Sequence[str]) -> int:
    """Announce that the prices of `symbols` changed; answers the batch's number.

    Listeners hear of it when the caller's transaction commits, and never if it does not.
    """
    names = "".join(f" {symbol}" for symbol in symbols)
    if len(names.encode()) > MAX_NAMES_BYTES:
        names = ""
    return cast("int", connection.execute(query("publish_price_batch"), {"names": names}).scalar_one())
