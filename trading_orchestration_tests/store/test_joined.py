"""Transactions of a step commit as one; where one fails, the step is run as it would be anywhere else."""

from collections.abc import Callable

import pytest
import sqlalchemy as sa

from trading_orchestration.store import joined
from trading_orchestration.store.database import transaction
from trading_orchestration.store.paper_market import without_transactions


@pytest.fixture
def names(engine: sa.Engine) -> Callable[[], list[str]]:
    """The names that others see."""
    with transaction(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE kept (name text PRIMARY KEY)")

    def read() -> list[str]:
        with transaction(engine) as connection:
            return list(connection.exec_driver_sql("SELECT name FROM kept ORDER BY 1").scalars())

    return read


def add(engine: sa.Engine, name: str) -> None:
    with transaction(engine) as connection:
        connection.exec_driver_sql("INSERT INTO kept VALUES (%s)", (name,))


def test_a_step_sees_what_it_did_and_others_see_it_at_its_end(
    engine: sa.Engine, names: Callable[[], list[str]]
) -> None:
    one = joined.Joined(engine)

    def step() -> None:
        add(one.engine, "a")
        with transaction(without_transactions(one.engine)) as connection:
            assert connection.exec_driver_sql("SELECT name FROM kept").scalars().all() == ["a"]
        assert names() == []
        add(one.engine, "b")

    one.run(step, undone=lambda: pytest.fail("nothing failed"))
    assert names() == ["a", "b"]
    add(one.engine, "c")
    assert names() == ["a", "b", "c"], "outside of a step it is an engine like any other"


def test_a_failure_that_the_step_deals_with_takes_back_its_own_transaction_alone(
    engine: sa.Engine, names: Callable[[], list[str]]
) -> None:
    one, tries, undone = joined.Joined(engine), [0], [0]

    def step() -> None:
        tries[0] += 1
        add(one.engine, "a")
        with pytest.raises(sa.exc.IntegrityError):
            add(one.engine, "a")
        add(one.engine, "b")

    one.run(step, undone=lambda: undone.append(undone.pop() + 1))
    assert (names(), tries, undone) == (["a", "b"], [2], [1])


def test_an_error_that_leaves_the_step_leaves_what_was_done_before_it(
    engine: sa.Engine, names: Callable[[], list[str]]
) -> None:
    one = joined.Joined(engine)

    def step() -> None:
        add(one.engine, "a")
        add(one.engine, "a")

    with pytest.raises(sa.exc.IntegrityError):
        one.run(step, undone=lambda: None)
    assert names() == ["a"], "as without joining"
