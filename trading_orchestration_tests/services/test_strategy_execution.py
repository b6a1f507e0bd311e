"""Each portfolio decides once a tick, on fresh prices, whatever fails beside it; exits go on under a halt."""

from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain import factors
from trading_orchestration.domain.trade import Side
from trading_orchestration.errors import JobFailedError, LeaseLostError
from trading_orchestration.services import entry_obstacles
from trading_orchestration.services.strategy_execution import StrategyExecution
from trading_orchestration.store import ledger, portfolios, trades
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.services.trading_world import AAPL, CASH, IBM, MSFT, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    """AAPL rose and MSFT fell; one strategy buys 10 of what rose."""
    world = TradingWorld(engine, "main", "second")
    world.trend(AAPL, 190, 200)
    world.trend(MSFT, 410, 400)
    world.set_price(AAPL, "200")
    world.set_price(MSFT, "400")
    world.set_price(IBM, "150")
    return world


def decisions(world: TradingWorld, portfolio: str = "main") -> list[tuple[str | None, list[str | None]]]:
    rows = world.rows(
        "SELECT s.name, d.signals FROM decisions d LEFT JOIN strategies s ON s.id = d.strategy_id "
        "WHERE d.portfolio_id = :id ORDER BY d.id",
        id=world.ids[portfolio],
    )
    return [(row["name"], [signal["outcome"] for signal in row["signals"]]) for row in rows]


def test_a_signal_becomes_an_order(world: TradingWorld):
    world.add_strategy(universe=[AAPL, MSFT])
    report = world.execute()
    assert report.counts == {"portfolios": 2, "signals": 2, "trades": 1, "errors": 0}
    assert decisions(world) == [
        (None, []),
        ("trend", ["buy 10", "refused: No MSFT is held that could be sold."]),
    ]
    world.check()
    assert world.held() == {("main", AAPL): 10}
    assert world.cash() == CASH - 2000
    world.assert_books_agree()


def test_a_retry_drives_the_decision_on_and_never_decides_again(world: TradingWorld):
    """The first run dies after its decision; by the second the signals have turned."""
    world.add_strategy()
    tick = world.tick
    world.broker.is_down = True
    assert len(world.execute(tick).problems) == 1
    world.trend(AAPL, 190, 180)
    world.rows("UPDATE strategies SET definition = '{}' RETURNING id")
    world.broker.is_down = False
    report = world.execute(tick)
    assert report.counts == {"portfolios": 2, "trades": 1, "errors": 0}
    assert decisions(world) == [(None, []), ("trend", ["buy 10"])]
    assert len(world.broker.sent) == 1


def test_a_strategy_that_is_enabled_after_the_decision_waits_for_the_next_tick(world: TradingWorld):
    tick = world.tick
    world.execute(tick)
    world.add_strategy()
    assert world.execute(tick).counts == {"portfolios": 2, "errors": 0}
    world.advance(timedelta(minutes=15))
    world.quote(AAPL, "200")
    assert world.execute().counts["trades"] == 1


def test_two_runs_at_once_decide_once(world: TradingWorld, monkeypatch: pytest.MonkeyPatch):
    """The second run reads that nothing was decided, and then waits for the first one's portfolio."""
    world.add_strategy()
    tick = world.tick
    monkeypatch.setattr(trades, "decided_portfolios", lambda *_: set())
    world.execute(tick)
    world.add_strategy("later")
    before = world.state()
    world.execute(tick)
    assert world.state() == before
    assert decisions(world) == [(None, []), ("trend", ["buy 10"])]


def test_the_next_tick_sees_what_is_on_order(world: TradingWorld):
    world.add_strategy(shares=10)
    world.execute()
    world.advance(timedelta(minutes=15))
    world.quote(AAPL, "200")
    world.execute()
    outcomes = [outcome for _, (outcome,) in decisions(world)[1::2]]
    assert outcomes == ["buy 10", "refused: 10 AAPL are held or on order, which is the target already."]


def test_strategies_of_one_portfolio_do_not_spend_its_cash_twice(world: TradingWorld):
    world.add_strategy("first", shares=240)
    world.trend(IBM, 140, 150)
    world.add_strategy("second", universe=[IBM], shares=330)
    world.execute()
    (_, _), (_, [first]), (_, [second]) = decisions(world)
    assert first == "buy 240"
    assert second is not None
    assert second.startswith("refused: 330 IBM at 150 need 51,480.00")


def test_a_stale_quote_is_not_traded_on(world: TradingWorld):
    world.add_strategy()
    world.advance(timedelta(minutes=15))
    world.quote(MSFT, "400")
    world.quote(AAPL, "200", at=world.now - timedelta(minutes=15, seconds=1))
    with world.begin() as connection:
        connection.execute(
            sa.text("UPDATE quotes SET quoted_at = :at WHERE symbol = 'AAPL'"),
            {"at": world.now - timedelta(hours=1)},
        )
    world.execute()
    assert decisions(world)[1] == ("trend", ["refused: No price is known for AAPL."])
    assert world.broker.sent == []


def test_a_bad_strategy_is_its_own_error_and_stops_no_other(world: TradingWorld):
    bad, good = world.add_strategy("bad"), world.add_strategy("good", universe=[AAPL])
    world.rows('UPDATE strategies SET definition = \'{"name": "bad"}\' WHERE id = :id RETURNING id', id=bad)
    report = world.execute()
    assert (report.problems, report.counts["errors"], report.counts["trades"]) == ([], 1, 1)
    errors = {row["id"]: row["last_error"] for row in world.rows("SELECT id, last_error FROM strategies")}
    assert errors[good] is None
    assert "missing" in errors[bad]
    assert "Strategy bad cannot be evaluated" in world.titles()


def test_a_factor_that_breaks_is_its_strategys_error_until_it_works_again(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    world.add_strategy("broken")
    world.add_strategy("works", portfolio="second")
    momentum = factors.load_factor("momentum")
    good, calls = momentum.score, []

    def break_once(history: object, parameters: object) -> float:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError("by zero")
        return good(history, parameters) or 0.0  # type: ignore[arg-type]

    monkeypatch.setattr(momentum, "score", break_once)
    report = world.execute()
    assert (report.problems, report.counts["errors"], report.counts["trades"]) == ([], 1, 1)
    assert [row["last_error"] for row in world.rows("SELECT last_error FROM strategies ORDER BY id")] == [
        "ZeroDivisionError: by zero",
        None,
    ]
    world.advance(timedelta(minutes=15))
    world.quote(AAPL, "200")
    world.execute()
    assert world.rows("SELECT 1 FROM strategies WHERE last_error IS NOT NULL") == []


def test_a_score_that_is_no_number_is_an_error(world: TradingWorld, monkeypatch: pytest.MonkeyPatch):
    world.add_strategy()
    monkeypatch.setattr(factors.load_factor("momentum"), "score", lambda *_: float("nan"))
    assert world.execute().counts["errors"] == 1
    assert "no numbers" in world.rows("SELECT last_error FROM strategies")[0]["last_error"]


def test_a_portfolio_that_fails_does_not_stop_the_others_and_fails_the_job(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    world.add_strategy("one")
    world.add_strategy("two", portfolio="second")
    read = ledger.read_positions

    def fail_for_main(connection: sa.Connection, ids: list[int]) -> object:
        if world.ids["main"] in ids:
            raise ValueError("these books cannot be read")
        return read(connection, ids)

    monkeypatch.setattr(ledger, "read_positions", fail_for_main)
    report = world.execute()
    assert report.problems == ["portfolio main: ValueError: these books cannot be read"]
    assert report.counts["trades"] == 1
    with pytest.raises(JobFailedError, match="main"):
        report.raise_if_failed()


def test_a_lost_lease_ends_the_run_at_once(world: TradingWorld):
    world.add_strategy()
    calls = []

    def lost() -> object:
        calls.append(1)
        raise LeaseLostError("gone")

    execution = StrategyExecution(
        begin=lost,  # type: ignore[arg-type]
        accounts={},
        submission_of=lambda _: world.submission(),
        entries=world.entry_check,
    )
    with pytest.raises(LeaseLostError):
        execution.run(world.tick)
    assert calls == [1]


def test_a_stop_loss_closes_a_position_without_any_strategy(world: TradingWorld):
    world.intend()
    world.check()
    world.set_price(AAPL, "180")
    world.execute()
    world.check()
    assert decisions(world)[-1] == (None, ["sell 10"])
    assert world.held() == {}
    assert "Stop loss" in world.rows("SELECT reason FROM trades ORDER BY id DESC LIMIT 1")[0]["reason"]
    world.assert_books_agree()


def test_what_a_stop_loss_closed_is_opened_again_on_the_next_daily_bar_and_not_before(world: TradingWorld):
    """As in any engine that walks daily bars: one bar gives one signal, however often it is looked at."""
    world.add_strategy()
    world.execute()
    world.check()
    outcomes = []
    for _ in range(3):
        world.advance(timedelta(minutes=15))
        world.set_price(AAPL, "180")
        world.execute()
        world.check()
        outcomes += decisions(world)[-2:]
    why = "A stop loss or take profit closed AAPL in this session, and the signal's daily bar is the same."
    assert outcomes[0] == (None, ["sell 10"])
    assert [of for name, of in outcomes if name] == [[f"refused: {why}"]] * 3
    session = world.close_market()
    world.now = world.calendar.next(session.date).opens_at
    world.count_as_compared(world.now)
    world.set_price(AAPL, "180")
    world.execute()
    assert decisions(world)[-1] == ("trend", ["buy 10"])


def test_a_stop_loss_at_a_price_like_a_splits_waits_until_the_books_were_compared(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    """Nobody entered the 2:1 split: the books say 10 at 200, the market 100."""
    world.intend()
    world.check()
    world.set_price(AAPL, "100")
    world.rows("UPDATE quotes SET previous_close = 200 WHERE symbol = 'AAPL' RETURNING symbol")
    with monkeypatch.context() as before_the_sync:
        before_the_sync.setattr(portfolios, "set_reconciled", lambda *_: None)
        world.execute()
    why = "AAPL at 100 is -50% from its previous close of 200; prices are believed unseen within 30%."
    assert decisions(world)[-1] == (None, [f"waits for position_sync: {why}"])
    world.advance(timedelta(minutes=15))
    world.set_price(AAPL, "100")
    world.rows("UPDATE quotes SET previous_close = 200 WHERE symbol = 'AAPL' RETURNING symbol")
    world.execute()
    assert decisions(world)[-1] == (None, ["sell 10"])


def test_a_stop_loss_and_a_strategy_that_sells_do_not_sell_twice(world: TradingWorld):
    world.intend(quantity=10, symbol=MSFT)
    world.check()
    world.add_strategy(universe=[MSFT])
    world.set_price(MSFT, "350")
    world.execute()
    assert decisions(world)[-2:] == [
        (None, ["sell 10"]),
        ("trend", ["refused: All 10 MSFT are on sale already."]),
    ]


@pytest.mark.parametrize("level", HaltLevel)
def test_under_a_halt_nothing_is_bought_and_exits_go_on(world: TradingWorld, level: HaltLevel):
    world.intend()
    world.check()
    world.add_strategy(universe=[AAPL, IBM])
    world.trend(IBM, 140, 150)
    world.halt(level)
    world.set_price(AAPL, "180")
    world.execute()
    world.check()
    assert world.held() == {}
    assert all("sell" in (o or "") or "halted" in (o or "") for _, os in decisions(world)[1:] for o in os)


def test_flatten_closes_everything_at_the_next_tick_at_any_price(world: TradingWorld):
    """Also what has no fresh price, and never more than is held: what is on sale already counts."""
    world.intend(quantity=10)
    world.intend(quantity=7, symbol=MSFT)
    world.check()
    world.intend(Side.SELL, 4, limit="250")
    world.check()
    world.halt(HaltLevel.FLATTEN)
    world.rows("DELETE FROM quotes RETURNING symbol")
    assert world.execute().counts["trades"] == 2
    world.check()
    assert world.held() == {("main", AAPL): 4}
    world.advance(timedelta(minutes=15))
    assert world.execute().counts.get("trades", 0) == 0, "the rest is on sale already"
    world.set_price(AAPL, "250")
    world.check()
    assert world.held() == {}
    world.assert_books_agree()


def test_a_halt_for_all_that_is_stricter_than_the_portfolios_own_counts(world: TradingWorld):
    world.intend()
    world.check()
    world.halt(HaltLevel.NO_NEW)
    with world.begin() as connection:
        portfolios.add_halt(
            connection,
            portfolio_id=None,
            level=HaltLevel.FLATTEN,
            reason="all of it",
            actor="test",
            at=world.now,
        )
    world.execute()
    world.check()
    assert world.held() == {}


def test_a_halt_of_one_portfolio_leaves_the_other_alone(world: TradingWorld):
    world.add_strategy("one")
    world.add_strategy("two", portfolio="second")
    world.halt(HaltLevel.FLATTEN, "main")
    world.execute()
    world.check()
    assert world.held() == {("second", AAPL): 10}


def test_a_daily_loss_halts_the_portfolio_once_a_session(world: TradingWorld):
    world.intend(quantity=240)
    world.check()
    world.execute()
    world.add_strategy(universe=[IBM], shares=1)
    world.trend(IBM, 140, 150)
    world.advance(timedelta(minutes=15))
    world.quote(IBM, "150")
    world.set_price(AAPL, "181")  # 240 × 19 = 4,560 of 100,000
    world.execute()
    assert world.halts() == []
    world.advance(timedelta(minutes=15))
    world.quote(IBM, "150")
    world.set_price(AAPL, "180.1")  # the stop loss is at 180
    world.rows("UPDATE portfolios SET max_daily_loss_pct = 0.047 RETURNING id")
    world.execute()
    (reason,) = world.halts()
    assert "Equity fell by 4.78% since the open, from 100,000.00 to 95,224.00" in reason
    with world.begin() as connection:
        portfolios.end_halt(
            connection, portfolio_id=world.ids["main"], reason="seen", actor="test", at=world.now
        )
    world.advance(timedelta(minutes=15))
    world.set_price(AAPL, "180.1")
    world.execute()
    assert world.halts() == [], "a person has seen it; buys are still refused today"
    assert "Equity fell" in (decisions(world)[-1][1][0] or "")


def test_a_withdrawal_is_no_loss_and_an_unknown_price_does_not_lift_the_limit(world: TradingWorld):
    """The first look of the day may have no price of a holding: equity is unknown then, not zero."""
    world.intend(quantity=100)
    world.check()
    world.rows("UPDATE quotes SET quoted_at = quoted_at - interval '1 hour' RETURNING symbol")
    world.quote(MSFT, "400")
    world.execute()
    world.set_price(AAPL, "200")
    world.execute()
    with world.begin() as connection:
        portfolios.hold_portfolio(connection, world.ids["main"])
        ledger.add_cash_movement(
            connection,
            portfolio_id=world.ids["main"],
            kind="withdrawal",
            amount=Decimal(-20_000),
            reference="holiday",
            occurred_at=world.now + timedelta(minutes=1),
        )
    world.advance(timedelta(minutes=15))
    world.set_price(AAPL, "200")
    world.execute()
    assert world.halts() == []
    world.advance(timedelta(minutes=15))
    world.rows("UPDATE portfolios SET max_daily_loss_pct = 0.01 RETURNING id")
    world.set_price(AAPL, "191")  # 900 of 80,000
    world.execute()
    assert "from 80,000.00 to 79,100.00" in world.halts()[0]


def test_a_drawdown_halts_the_portfolio_and_money_that_left_is_none(world: TradingWorld):
    """At its best it was 20 % up; since then 100,000 came to 20,000, 30,000 left, and 80,100 are there."""
    world.rows("UPDATE portfolios SET max_drawdown_pct = 0.11, max_daily_loss_pct = NULL RETURNING id")
    for day, total, gain in (("2024-06-28", 20_000, "0.1"), ("2024-07-01", 20_000, "0.2")):
        world.rows(
            "INSERT INTO portfolio_snapshots (portfolio_id, session, cash, positions_value, total_value, "
            "gross_value, position_count, net_deposits, total_return, valued_at) "
            f"VALUES (:id, '{day}', {total}, 0, {total}, 0, 0, 0, {gain}, '{day}T20:00Z') RETURNING 1",
            id=world.ids["main"],
        )
    world.rows(
        "INSERT INTO cash_movements (portfolio_id, kind, amount, reference, occurred_at) "
        "VALUES (:id, 'withdrawal', -30000, 'out', '2024-07-02T13:00Z') RETURNING 1",
        id=world.ids["main"],
    )
    world.rows("UPDATE cash_balances SET amount = 80200 WHERE portfolio_id = 1 RETURNING 1")
    world.execute()
    assert world.halts() == []
    world.advance(timedelta(minutes=15))
    world.rows("UPDATE cash_balances SET amount = 80100 WHERE portfolio_id = 1 RETURNING 1")
    world.execute()
    assert world.halts() == [
        "The portfolio is 11.00% below the highest value it has had; the limit is 11.00%."
    ]


def test_nothing_is_bought_on_books_that_were_not_compared_with_the_brokers(
    world: TradingWorld, monkeypatch: pytest.MonkeyPatch
):
    world.intend(Side.BUY, 10, symbol=MSFT)
    world.check()
    world.add_strategy(universe=[AAPL, MSFT])
    world.rows("UPDATE broker_accounts SET reconciled_at = NULL RETURNING id")
    monkeypatch.setattr(portfolios, "set_reconciled", lambda *_: None)
    world.execute()
    assert decisions(world)[-1][1] == [
        "refused: The books were never compared with the broker's; position_sync comes first.",
        "sell 10",
    ]


def test_a_price_far_from_the_previous_close_is_not_bought_at(world: TradingWorld):
    world.add_strategy(universe=[AAPL])
    world.rows("UPDATE quotes SET previous_close = 400 WHERE symbol = 'AAPL' RETURNING symbol")
    world.execute()
    assert decisions(world)[-1][1] == [
        "refused: AAPL at 200 is -50% from its previous close of 400; prices are believed unseen within 30%."
    ]


def test_too_many_orders_in_an_hour_halt_the_portfolio(world: TradingWorld, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(entry_obstacles, "ORDERS_PER_HOUR_MAX", 3)
    world.add_strategy()
    for _ in range(3):
        world.intend(quantity=1)
    world.execute()
    assert world.halts() == ["3 orders came within an hour; the limit is 3."]
    assert "3 orders" in (decisions(world)[-1][1][0] or "")


def test_an_exit_that_is_decided_again_finds_the_first_one_open(world: TradingWorld):
    """A stop loss that waits at the broker is not sold a second time at the next tick."""
    world.intend()
    world.check()
    world.set_price(AAPL, "180")
    world.broker.submit_faults = ["lost"]
    world.execute()
    world.advance(timedelta(minutes=15))
    world.quote(AAPL, "180")
    assert world.execute().counts.get("trades", 0) == 0
    assert len(world.rows("SELECT 1 FROM trades WHERE side = 'sell'")) == 1


def test_a_portfolio_that_is_put_to_rest_is_not_traded_and_its_orders_are_still_settled(world: TradingWorld):
    world.add_strategy()
    world.execute()
    world.rows("UPDATE portfolios SET is_active = false RETURNING id")
    assert [account.account_number for account in world.accounts()] == [world.account_number]
    world.check()
    assert [row["status"] for row in world.rows("SELECT status FROM trades")] == ["filled"]
    assert world.accounts() == []
