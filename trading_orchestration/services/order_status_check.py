"""`order_status_check`: drive on what was never confirmed, then book what the broker says of the rest."""

from collections.abc import Sequence

from trading_orchestration.errors import BrokerUnavailableError
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report
from trading_orchestration.services.trading import TradingService


def check_orders(accounts: Sequence[tuple[Submission, TradingService]]) -> Report:
    """Check every account; one that fails does not stop the others.

    Raises BrokerNotAuthorizedError at once, for a person must mend it.
    """
    report = Report()
    for submission, trading in accounts:
        try:
            sent = submission.send_pending()
            report.problems += sent.problems
            report.add({"rejected": sent.counts["rejected"]})
            report.add(trading.update_trade_status())
        except BrokerUnavailableError as error:
            report.fail(f"account {trading.account.account_number}", error)
    return report
