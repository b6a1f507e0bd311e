"""Kills itself (SIGKILL) after each statement of a paper broker's call, in a process of its own each time.

Run as a module with a database URL, an account number and the name of a call. It prints one line for each
process: how many statements it was allowed, and whether it lived.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from trading_orchestration.brokers.paper import PaperBroker
from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.store import paper_market
from trading_orchestration.store.database import create_engine
from trading_orchestration_tests.brokers.paper_world import new_york
from trading_orchestration_tests.contracts.broker_world import START

MOST_STATEMENTS = 8


def submit(broker: PaperBroker, number: int) -> None:
    broker.submit_order(f"killed-{number}", OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(1)))


def give_prices(broker: PaperBroker, number: int) -> None:
    at = START + timedelta(minutes=1 + number)
    broker.give_prices([PriceTick("AAPL", Decimal(90))], at=at)


def kill_after(statements: int) -> None:
    """Let the process die right after that many statements have been answered."""
    left = [statements]

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def run(connection: object, name: str, parameters: Mapping[str, object]) -> Any:
            answer = original(connection, name, parameters)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return run

    paper_market._rows = counted(paper_market._rows)
    paper_market._execute = counted(paper_market._execute)


def live_and_die(
    url: str, account_number: str, call: Callable[[PaperBroker, int], None], number: int
) -> None:
    kill_after(number)
    engine = create_engine(url, application_name="killed")
    broker = PaperBroker(
        engine, account_number=account_number, calendar=new_york(), clock=lambda: START + timedelta(minutes=1)
    )
    call(broker, number)


def main(url: str, account_number: str, call: str) -> None:
    new_york()
    for number in range(1, MOST_STATEMENTS + 1):
        child = os.fork()
        if not child:
            live_and_die(url, account_number, {"submit": submit, "give_prices": give_prices}[call], number)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        has_lived = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        assert has_lived or os.WIFSIGNALED(status), f"the child failed with status {status}"
        sys.stdout.write(f"{number} {'lived' if has_lived else 'killed'}\n")
        if has_lived:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
