"""Setting price alerts."""

from decimal import Decimal

from trading_orchestration.domain.alert import Alert, AlertCondition
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.store import alerts, prices
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin


def add_alert(
    begin: Begin,
    *,
    symbol: str,
    condition: AlertCondition,
    threshold: Decimal,
    reference_price: Decimal | None,
    note: str | None,
) -> Alert:
    """Set an alert. A percent_change without a reference price is measured from the newest quote.

    Raises InvalidInputError for an unknown symbol, a value that does not fit the condition, or no quote.
    """
    with begin() as connection:
        prices.require_instruments(connection, [symbol])
        if condition is AlertCondition.PERCENT_CHANGE and reference_price is None:
            reference_price = _newest_price(connection, symbol)
        # Checked as an alert before it is one: the id comes from the database.
        checked = Alert(
            id=0, symbol=symbol, condition=condition, threshold=threshold, reference_price=reference_price
        )
        alert_id = alerts.add_alert(
            connection,
            symbol=symbol,
            condition=condition,
            threshold=threshold,
            reference_price=reference_price,
            note=note,
        )
    return Alert(
        id=alert_id,
        symbol=checked.symbol,
        condition=checked.condition,
        threshold=checked.threshold,
        reference_price=checked.reference_price,
    )


def _newest_price(connection: Connection, symbol: str) -> Decimal:
    quote = prices.read_quotes(connection, [symbol]).get(symbol)
    if quote is None:
        raise InvalidInputError(
            f"There is no quote of {symbol} yet to measure a change from; give a price with --reference."
        )
    return quote.price
