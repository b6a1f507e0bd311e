"""`trading alert`: prices that a person wants to hear of."""

from decimal import Decimal
from typing import Annotated

import typer

from trading_orchestration.cli.amounts import fraction
from trading_orchestration.cli.output import Column, Json, minute, print_json, show
from trading_orchestration.domain.alert import AlertCondition

app = typer.Typer(help="Prices to hear of; each alert fires once.", no_args_is_help=True)

_LIST = [
    Column("id"),
    Column("symbol"),
    Column("condition"),
    Column("threshold"),
    Column("reference_price", "reference"),
    Column("status"),
    Column("triggered_at", "triggered", minute),
    Column("triggered_price", "at"),
    Column("note"),
]


@app.command()
def add(
    symbol: str,
    condition: AlertCondition,
    threshold: Annotated[
        str, typer.Argument(help="A price; for percent_change a fraction (0.05) or percentage (5%).")
    ],
    reference: Annotated[
        str | None, typer.Option(help="What percent_change is measured from; else the newest quote.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="A word to yourself.")] = None,
    as_json: Json = False,
) -> None:
    """Fire once when the price is at or above, at or below, or has changed by so much either way."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.domain.money import parse_amount, plain
    from trading_orchestration.services.alert_setup import add_alert

    value = _threshold(threshold, condition)
    with open_installation() as opened:
        alert = add_alert(
            opened.begin,
            symbol=symbol.upper(),
            condition=condition,
            threshold=value,
            reference_price=None if reference is None else parse_amount(reference, what="--reference"),
            note=note,
        )
    if as_json:
        print_json(
            {
                "id": alert.id,
                "symbol": alert.symbol,
                "condition": alert.condition.value,
                "threshold": alert.threshold,
                "reference_price": alert.reference_price,
                "note": note,
            }
        )
    else:
        since = f" from {plain(alert.reference_price)}" if alert.reference_price else ""
        print(f"Alert {alert.id}: {alert.symbol} {alert.condition} {plain(alert.threshold)}{since}.")


@app.command("list")
def list_all(as_json: Json = False) -> None:
    """Every alert, and which have fired."""
    from trading_orchestration.cli.installation import open_installation
    from trading_orchestration.store.alerts import list_alerts

    with open_installation() as opened, opened.begin() as connection:
        rows = [dict(row) for row in list_alerts(connection)]
    show(rows, _LIST, as_json=as_json, empty="There are no alerts.")


def _threshold(text: str, condition: AlertCondition) -> Decimal:
    from trading_orchestration.domain.money import parse_amount

    if condition is AlertCondition.PERCENT_CHANGE:
        return fraction(text, what="THRESHOLD")
    return parse_amount(text, what="THRESHOLD")
