"""`order_status_check`: drive on what was never confirmed, then book what the broker says of the rest."""

from collections.abc import Sequence

from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report
from trading_orchestration.services.trading import TradingService


def check_orders(accounts: Sequence[tuple[Submission, TradingService]]) -> Report:
    """Check every account; one that fails does not stop the others.

    Raises BrokerNotAuthorizedError once all were checked, for a person must mend it.
    """
    report = Report()
    for submission, trading in accounts:
        with report.part(f"account {trading.account.account_number}"):
            sent = submission.send_pending()
            report.problems += sent.problems
            report.add({"rejected": sent.counts["rejected"]})
            report.include(trading.update_trade_status())
    report.raise_if_a_person_is_needed()
    return report
