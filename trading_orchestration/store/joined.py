"""Many short transactions as one: for work that is alone in its database and can be done again.

    joined = Joined(engine)
    joined.run(step, undone=forget)    # what `step` begins on `joined.engine` commits together, or not at all

Where a transaction in a step fails, the whole step is rolled back and run once more with every transaction
for itself, so that what fails takes back as much, and as little, as it does anywhere else.
"""

from collections.abc import Callable
from contextlib import suppress

import sqlalchemy as sa

from trading_orchestration.store.database import JOINED, JoinedTransaction, transaction


class _SpoiltError(Exception):
    """A transaction in the step failed; its error was dealt with by the step itself."""


class Joined:
    """`engine` is the one to begin transactions on, also for statements that stand alone."""

    def __init__(self, engine: sa.Engine) -> None:
        self._plain = engine
        self._held = JoinedTransaction()
        self.engine = engine.execution_options(**{JOINED: self._held})

    def run(self, step: Callable[[], None], *, undone: Callable[[], None]) -> None:
        """Run a step; raises what it raises when it runs with every transaction for itself.

        `undone` is called before a step runs again, to take back what it did outside of the database.
        """
        with suppress(_SpoiltError):
            self._run_as_one(step)
            return
        undone()
        step()

    def _run_as_one(self, step: Callable[[], None]) -> None:
        with transaction(self._plain) as connection:
            self._held.connection, self._held.is_spoilt = connection, False
            try:
                step()
            except Exception:
                if not self._held.is_spoilt:
                    raise
            finally:
                self._held.connection = None
            if self._held.is_spoilt:
                raise _SpoiltError
