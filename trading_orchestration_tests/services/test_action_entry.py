"""An action is entered once, checked before it may touch a book, and refused in a sentence that says why."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.corporate_action import ActionKind, CorporateAction
from trading_orchestration.domain.new_action import NewAction, before_open
from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import InvalidInputError
from trading_orchestration.services.action_entry import Entered, enter_action
from trading_orchestration.services.actions_import import COLUMNS, import_actions
from trading_orchestration.services.entry_obstacles import outside_collar
from trading_orchestration_tests.fixtures.market_calendars import FUTURES_WEEK, INDEPENDENCE_WEEK, TOKYO_WEEK
from trading_orchestration_tests.services.action_world import NEXT, ActionWorld
from trading_orchestration_tests.services.trading_world import AAPL, IBM, MSFT

HEADER = ",".join(COLUMNS)


@pytest.fixture
def world(engine: sa.Engine) -> ActionWorld:
    return ActionWorld(engine)


def count(world: ActionWorld) -> int:
    return len(world.rows("SELECT id FROM corporate_actions"))


def test_an_action_entered_twice_is_one_and_another_of_its_day_is_refused(world: ActionWorld):
    first = world.split(7)
    assert first.is_new
    again = world.split(7)
    assert (again.id, again.is_new) == (first.id, False)
    with pytest.raises(InvalidInputError, match=r"7:1 on 2024-07-03 \(action 1, from test\), here 2:1;"):
        world.split(2)
    assert count(world) == 1
    world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal("0.5"))
    world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal("0.5"), is_special=True)
    assert count(world) == 3


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ({"ratio": None}, "A split of AAPL needs its ratio."),
        ({"ratio": (Decimal(0), Decimal(1))}, "The ratio of AAPL was 0:1"),
        ({"ratio": (Decimal(2), Decimal(2))}, "The ratio of AAPL was 2:2"),
        ({"ratio": (Decimal(-7), Decimal(1))}, "The ratio of AAPL was -7:1"),
        ({"fraction_price": Decimal(0)}, "The price of a fraction was 0"),
        ({"cash_per_unit": Decimal(1)}, "A split of AAPL has no cash_per_unit; leave it out."),
        ({"on": date(2024, 7, 4)}, "2024-07-04 (Thursday) is not a session of XNYS: Independence Day"),
        ({"symbol": "ZZZ"}, "Unknown symbol ZZZ"),
        ({"kind": ActionKind.DIVIDEND, "ratio": None}, "A dividend of AAPL needs its cash_per_unit."),
        (
            {"kind": ActionKind.DIVIDEND, "ratio": None, "cash_per_unit": Decimal(-1)},
            "The dividend of AAPL was -1; it is above 0.",
        ),
        (
            {"kind": ActionKind.DELISTING, "ratio": None, "cash_per_unit": Decimal(-1)},
            "AAPL was to pay -1 a unit; give 0 or more.",
        ),
        ({"kind": ActionKind.SYMBOL_CHANGE, "ratio": None}, "A symbol change of AAPL needs its new_symbol."),
        ({"kind": ActionKind.SYMBOL_CHANGE, "ratio": None, "new_symbol": AAPL}, "give the new symbol."),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_kept(
    world: ActionWorld, terms: Mapping[str, Any], said: str
):
    with pytest.raises(InvalidInputError) as refused:
        world.enter(**{"ratio": (Decimal(7), Decimal(1)), **terms})
    assert said in str(refused.value)
    assert count(world) == 0


@pytest.mark.parametrize(
    ("known", "told", "said"),
    [
        ({"ratio": (Decimal("1.5"), Decimal(1))}, {"ratio": (Decimal(3), Decimal(2))}, None),
        (
            {"ratio": (Decimal(7), Decimal(1)), "fraction_price": Decimal(9)},
            {"ratio": (Decimal(7), Decimal(1))},
            None,
        ),
        ({"ratio": (Decimal(7), Decimal(1))}, {"ratio": (Decimal(2), Decimal(1))}, "differs: .* here 2:1;"),
        (
            {"ratio": (Decimal(7), Decimal(1))},
            {"ratio": (Decimal(7), Decimal(1)), "on": date(2024, 7, 5)},
            "AAPL is split 7:1 on 2024-07-05: it may be what test told of before, .* on 2024-07-03",
        ),
        (
            {"cash_per_unit": Decimal(10), "is_special": True},
            {"cash_per_unit": Decimal(10)},
            None,
        ),
        (
            {"cash_per_unit": Decimal(10), "is_special": True},
            {"cash_per_unit": Decimal("0.5")},
            "of 0.5 from 2024-07-03 on: it may be what test told of before, .*special dividend of 10",
        ),
        (
            {"cash_per_unit": Decimal(1), "pays_on": date(2024, 7, 8)},
            {"cash_per_unit": Decimal(1), "pays_on": date(2024, 7, 9)},
            "here paid on 2024-07-09;",
        ),
    ],
)
def test_what_a_second_vendor_tells_in_other_words_is_the_same_or_a_persons_question(
    world: ActionWorld, known: Mapping[str, Any], told: Mapping[str, Any], said: str | None
):
    kind = ActionKind.SPLIT if "ratio" in known else ActionKind.DIVIDEND
    first = world.enter(kind, **known)
    new = NewAction(**{"kind": kind, "symbol": AAPL, "on": NEXT, **told})

    def tell(source: str) -> Entered:
        return enter_action(
            world.begin, new, calendar=world.calendar, source=source, actor=source, is_from_vendor=True
        )

    if said is None:
        assert (tell("other").id, tell("other").is_new) == (first.id, False)
    else:
        with pytest.raises(InvalidInputError, match=said):
            tell("other")
    assert count(world) == 1


def test_a_dividend_above_the_close_before_it_is_refused(world: ActionWorld):
    world.trend(AAPL, 10)
    with pytest.raises(InvalidInputError, match="was 10, and it closed at 10 before 2024-07-03"):
        world.enter(ActionKind.DIVIDEND, cash_per_unit=Decimal(10))


def test_a_symbol_that_is_somebodys_cannot_be_taken_over(world: ActionWorld):
    world.trend(MSFT, 10)
    with pytest.raises(InvalidInputError, match="there are bars from before under MSFT, which is another"):
        world.enter(ActionKind.SYMBOL_CHANGE, new_symbol=MSFT)
    world.set_price(IBM, "100")
    world.intend(symbol=IBM)
    world.send()
    world.check()
    with pytest.raises(InvalidInputError, match="there are trades or holdings under IBM"):
        world.enter(ActionKind.SYMBOL_CHANGE, new_symbol=IBM)
    assert world.enter(ActionKind.SYMBOL_CHANGE, new_symbol="META").is_new


def test_a_delisting_of_what_is_held_says_what_it_pays(world: ActionWorld):
    world.hold(100)
    with pytest.raises(InvalidInputError, match=r"AAPL is held \(main holds 100\); say what a unit pays"):
        world.enter(ActionKind.DELISTING)
    assert world.enter(ActionKind.DELISTING, cash_per_unit=Decimal(0)).is_new


def test_an_action_is_withdrawn_once_and_with_a_reason(world: ActionWorld):
    entered = world.split(7)
    with pytest.raises(InvalidInputError, match="Say why"):
        world.withdraw(entered.id, " ")
    world.withdraw(entered.id, "it was 2:1")
    with pytest.raises(InvalidInputError, match="was withdrawn by tester before: it was 2:1"):
        world.withdraw(entered.id)
    with pytest.raises(InvalidInputError, match="There is no corporate action 7"):
        world.withdraw(7)


def test_a_file_is_taken_over_whole_or_not_at_all(world: ActionWorld, tmp_path: Path):
    def load(*lines: str) -> list[bool]:
        path = tmp_path / "actions.csv"
        path.write_text("\n".join([HEADER, *lines]))
        entered = import_actions(path, begin=world.begin, calendar=world.calendar, actor="tester")
        return [one.is_new for one in entered]

    split, paid = "split,AAPL,2024-07-03,7:1,,,", "dividend,MSFT,2024-07-02,,0.75,2024-07-08,"
    with pytest.raises(InvalidInputError, match=r"actions\.csv line 3: 2024-07-04 \(Thursday\) is not"):
        load(split, "dividend,MSFT,2024-07-04,,0.75,,")
    with pytest.raises(
        InvalidInputError, match=r"actions\.csv line 3: the kind was 'merger'; there are split,"
    ):
        load(split, "merger,MSFT,2024-07-05,,,,")
    with pytest.raises(InvalidInputError, match="line 2: it does not have the 7 fields"):
        load("split,AAPL")
    assert count(world) == 0
    assert load(split, paid, "special_dividend,MSFT,2024-07-02,,1,,") == [True, True, True]
    assert load(split, paid) == [False, False]
    assert count(world) == 3


@pytest.mark.parametrize("calendar", [INDEPENDENCE_WEEK, TOKYO_WEEK, FUTURES_WEEK], ids=lambda c: c.name)
def test_an_action_counts_after_the_close_before_it_and_before_its_open(calendar: Any):
    for before, session in zip(calendar.sessions, calendar.sessions[1:], strict=False):
        assert before.closes_at <= before_open(session, calendar) < session.opens_at


def test_the_collar_takes_a_previous_close_in_old_or_in_new_units():
    split = CorporateAction(
        kind=ActionKind.SPLIT,
        symbol=AAPL,
        session=NEXT,
        effective_at=datetime(2024, 7, 3, 4, tzinfo=UTC),
        new_units=Decimal(7),
        old_units=Decimal(1),
    )

    def refused(price: str, close: str, *splits: CorporateAction) -> bool:
        quote = Quote(
            symbol=AAPL,
            price=Decimal(price),
            quoted_at=datetime(2024, 7, 3, 14, tzinfo=UTC),
            source="test",
            previous_close=Decimal(close),
        )
        return bool(outside_collar([AAPL], {AAPL: quote}, {AAPL: splits}))

    assert refused("92", "645")
    assert not refused("92", "645", split)
    assert not refused("92", "92.2", split)
    assert refused("645", "92.2", split)
    assert refused("30", "645", split)
