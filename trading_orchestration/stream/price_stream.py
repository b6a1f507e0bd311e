"""`WebSocketService`: where a job says which prices changed. `server.py` tells the clients."""

from collections.abc import Sequence

from trading_orchestration.domain.price import Quote
from trading_orchestration.store.price_notifications import Connection, publish_price_batch


class WebSocketService:
    """Publishes changed prices to the price stream, through the database that both sides share."""

    def broadcast_price_update(self, connection: Connection, changed: Sequence[Quote]) -> int | None:
        """Publish one batch of prices that were written to `quotes` on this connection.

        It joins the caller's transaction: clients hear of the batch after the commit, and never of one that
        is rolled back. One statement, whatever the number of symbols. Answers the batch's number, or None
        when nothing changed.
        """
        symbols = sorted({quote.symbol for quote in changed})
        return publish_price_batch(connection, symbols) if symbols else None
