"""`alert_price_check`: fire the alerts whose condition the newest prices meet. Each fires once."""

from collections import Counter
from datetime import timedelta

from trading_orchestration.domain import alert
from trading_orchestration.services.tick import Tick
from trading_orchestration.store import alerts
from trading_orchestration.store.alerts import Notification, PricedAlert, Severity
from trading_orchestration.store.jobs import Begin


def check_alerts(tick: Tick, *, begin: Begin, quote_age_max: timedelta) -> Counter[str]:
    """Counts alerts `checked` and `triggered`; prices older than `quote_age_max` decide nothing."""
    with begin() as connection:
        active = [
            priced
            for priced in alerts.hold_active_alerts(connection)
            if tick.at - priced.quoted_at <= quote_age_max
        ]
        fired = [priced for priced in active if alert.is_triggered(priced.alert, priced.price)]
        if fired:
            triggered = [(priced.alert.id, priced.price) for priced in fired]
            alerts.trigger_alerts(connection, triggered, at=tick.at)
            alerts.add_notifications(connection, [_message(priced) for priced in fired], at=tick.at)
    return Counter(checked=len(active), triggered=len(fired))


def _message(priced: PricedAlert) -> Notification:
    return Notification(
        severity=Severity.INFO,
        kind="price_alert",
        title=alert.describe(priced.alert, priced.price),
        body=priced.note or "",
        dedupe_key=f"alert:{priced.alert.id}",
    )
