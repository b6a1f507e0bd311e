"""Each trade's order is sent exactly once, whatever the broker answers and whoever else is sending."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from trading_orchestration.domain.trade import Side, TradeStatus
from trading_orchestration.errors import BrokerNotAuthorizedError
from trading_orchestration.services.live_money import revoke_live
from trading_orchestration.services.submission import SEND_WINDOW
from trading_orchestration.store import live_permissions, trades
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration_tests.services.trading_world import AAPL, MSFT, TradingWorld


@pytest.fixture
def world(engine: sa.Engine) -> TradingWorld:
    world = TradingWorld(engine)
    world.set_price(AAPL, "200")
    world.set_price(MSFT, "400")
    return world


def orders_at_broker(world: TradingWorld) -> int:
    return len(world.paper.list_orders(after=world.now - timedelta(days=1)))


def test_a_pending_trade_is_sent_once_and_sells_go_first(world: TradingWorld):
    buy = world.intend(Side.BUY)
    world.send()
    world.check()
    bought = [world.intend(Side.BUY, symbol=MSFT), world.intend(Side.SELL)]
    report = world.send()
    assert report.counts == {"trades": 2}
    assert world.broker.sent == [
        world.trade(trade_id)["client_order_id"] for trade_id in (buy, bought[1], bought[0])
    ]
    assert world.send().counts == {}
    assert world.trade(buy)["attempts"] == 1


def test_an_order_that_was_lost_on_its_way_is_asked_for_and_then_sent_again(world: TradingWorld):
    trade = world.intend()
    world.broker.submit_faults = ["lost"]
    report = world.send(lease_s=0)
    assert world.status(trade) == ("submitting", 0)
    assert "is in doubt" in report.problems[0]
    assert world.send(lease_s=0).counts == {"trades": 1}
    assert world.broker.asked_for == [world.trade(trade)["client_order_id"]]
    assert orders_at_broker(world) == 1


def test_an_order_that_was_accepted_without_an_answer_is_found_and_not_sent_again(world: TradingWorld):
    trade = world.intend()
    world.broker.submit_faults = ["accepted"]
    world.send(lease_s=0)
    assert world.send(lease_s=0).counts == {"trades": 1}
    assert len(world.broker.sent) == orders_at_broker(world) == 1
    assert world.status(trade)[0] == "submitted"


def test_an_order_that_the_broker_does_not_show_yet_is_not_doubled(world: TradingWorld):
    """The second POST is refused as a duplicate, and the order may still be invisible then."""
    trade = world.intend()
    name = world.trade(trade)["client_order_id"]
    world.broker.submit_faults = ["accepted"]
    world.broker.hidden = {name}
    world.send(lease_s=0)
    report = world.send(lease_s=0)
    assert report.counts == {"errors": 1}
    assert world.status(trade)[0] == "submitting"
    world.broker.hidden = set()
    world.send(lease_s=0)
    assert world.status(trade)[0] == "submitted"
    assert orders_at_broker(world) == 1


def test_a_refusal_of_the_second_attempt_says_nothing_about_the_first(world: TradingWorld):
    """The cash is short because the first attempt's order holds it: the trade is not lost."""
    trade = world.intend()
    world.broker.submit_faults = ["accepted", "refused"]
    world.broker.hidden = {world.trade(trade)["client_order_id"]}
    world.send(lease_s=0)
    assert world.send(lease_s=0).problems == []
    assert world.status(trade)[0] == "submitting"
    assert any("is in doubt" in title for title in world.titles())
    world.broker.hidden = set()
    world.check(lease_s=0)
    assert world.status(trade) == ("filled", 10)
    world.assert_books_agree()


def test_a_refusal_of_the_only_attempt_ends_the_trade_and_gives_its_cash_back(world: TradingWorld):
    trade = world.intend()
    world.broker.submit_faults = ["refused"]
    assert world.send().counts == {"rejected": 1}
    row = world.trade(trade)
    assert (row["status"], row["reserved_cash"]) == ("rejected", 0)
    assert row["status_reason"] == "insufficient buying power"
    (message,) = world.rows("SELECT kind, severity, title, body FROM notifications")
    assert tuple(message.values()) == (
        "rejection",
        "warning",
        "buy 10 AAPL was rejected",
        "insufficient buying power",
    )
    world.assert_books_are_right()


def test_an_order_that_never_left_counts_as_never_sent(world: TradingWorld):
    first, second = world.intend(), world.intend(symbol=MSFT)
    world.broker.submit_faults = ["down"]
    report = world.send()
    assert len(report.problems) == 1
    assert [world.trade(trade)["attempts"] for trade in (first, second)] == [0, 0]
    assert [world.status(trade)[0] for trade in (first, second)] == ["pending", "pending"]
    assert world.send().counts == {"trades": 2}
    assert world.broker.asked_for == []


def test_a_broker_that_keeps_silent_does_not_cost_a_timeout_for_every_order(world: TradingWorld):
    tried = [world.intend(quantity=1, reserved=1000) for _ in range(6)]
    world.broker.submit_faults = ["lost"] * 6
    report = world.send()
    assert len(report.problems) == 3
    assert [world.status(trade)[0] for trade in tried] == ["submitting"] * 3 + ["pending"] * 3


def test_a_trade_is_not_sent_once_its_prices_are_old(world: TradingWorld):
    """Claimed by a worker that died before it sent: nobody sends it later."""
    trade = world.intend()
    with world.begin() as connection:
        trades.claim_trades(connection, world.account.id, lease_s=0, limit=10, except_ids=())
    world.advance(SEND_WINDOW + timedelta(seconds=1))
    assert world.send().counts == {"rejected": 1}
    assert world.status(trade)[0] == "cancelled"
    assert world.broker.sent == []


def test_a_trade_is_not_sent_after_the_close(world: TradingWorld):
    """A day order sent then would be filled at the next open."""
    world.now = world.calendar.sessions[1].closes_at - timedelta(minutes=1)
    trade = world.intend()
    world.advance(timedelta(minutes=2))
    world.send()
    assert world.status(trade)[0] == "cancelled"
    assert "closed" in world.trade(trade)["status_reason"]
    assert world.broker.sent == []


def test_an_order_in_doubt_is_given_up_only_when_the_list_of_the_day_does_not_have_it(world: TradingWorld):
    lost, there = world.intend(), world.intend(symbol=MSFT)
    world.broker.submit_faults = ["lost", "accepted"]
    name = world.trade(there)["client_order_id"]
    world.send(lease_s=0)
    world.broker.hidden = {name}
    world.advance(timedelta(minutes=10))
    assert world.send(lease_s=0).counts == {}
    assert [world.status(trade)[0] for trade in (lost, there)] == ["submitting"] * 2
    world.close_market()
    world.broker.hidden = set()
    world.broker.get_order_by_client_id = lambda _: None  # type: ignore[assignment, method-assign]
    world.send(lease_s=0)
    assert world.status(lost)[0] == "expired"
    assert world.status(there)[0] == "submitted"
    world.check()
    assert world.status(there) == ("filled", 10)
    world.assert_books_agree()


def test_a_halt_that_comes_after_the_decision_keeps_entries_back_and_lets_exits_go(world: TradingWorld):
    held = world.intend()
    world.check()
    entry, exit_, cover = (
        world.intend(symbol=MSFT),
        world.intend(Side.SELL),
        world.intend(Side.BUY, 1, is_risk_exit=True),
    )
    world.halt()
    world.check()
    assert world.status(held)[0] == "filled"
    assert world.status(entry) == ("cancelled", 0)
    assert "halted" in world.trade(entry)["status_reason"]
    assert [world.status(trade)[0] for trade in (exit_, cover)] == ["filled", "filled"]
    world.assert_books_agree()


def test_a_halt_between_two_posts_is_seen_before_the_second(world: TradingWorld):
    first, second = world.intend(), world.intend(symbol=MSFT)
    world.broker.before_post = lambda: world.halt()
    world.send()
    assert [world.status(trade)[0] for trade in (first, second)] == ["submitted", "cancelled"]


def test_an_entry_in_doubt_is_not_forgotten_by_a_halt(world: TradingWorld):
    """It may be at the broker, so it may not be called cancelled."""
    trade = world.intend()
    world.broker.submit_faults = ["accepted"]
    world.broker.hidden = {world.trade(trade)["client_order_id"]}
    world.send(lease_s=0)
    world.halt()
    world.send(lease_s=0)
    assert world.status(trade)[0] == "submitting"
    world.broker.hidden = set()
    world.check(lease_s=0)
    assert world.status(trade) == ("filled", 10)


def test_an_entry_is_not_sent_when_its_reserve_no_longer_pays_for_it(world: TradingWorld):
    trade = world.intend(reserved=2080)  # 10 at 200, and 4 % on top
    world.quote(AAPL, "208.01")
    world.send()
    assert world.status(trade)[0] == "cancelled"
    assert "208.01" in world.trade(trade)["status_reason"]


def test_an_exit_goes_out_at_any_price(world: TradingWorld):
    world.intend()
    world.check()
    trade = world.intend(Side.SELL)
    world.quote(AAPL, "20")
    world.send()
    assert world.status(trade)[0] == "submitted"


def test_an_order_under_our_name_that_is_another_halts_and_is_not_adopted(world: TradingWorld):
    trade = world.intend()
    world.broker.order = lambda order: replace(order, terms=replace(order.terms, quantity=Decimal(11)))
    world.broker.submit_faults = ["accepted"]
    world.send(lease_s=0)
    world.send(lease_s=0)
    assert world.status(trade)[0] == "rejected"
    assert "buy 11 AAPL instead of buy 10 AAPL" in world.halts()[0]


@pytest.mark.parametrize("what", ["another", "blocked"])
def test_nothing_is_sent_to_an_account_that_is_another_or_blocked(world: TradingWorld, what: str):
    trade = world.intend()
    changes = {"another": {"account_number": "OTHER"}, "blocked": {"is_blocked": True}}[what]
    world.broker.account = lambda account: replace(account, **changes)  # type: ignore[arg-type]
    with pytest.raises(BrokerNotAuthorizedError, match=world.account_number):
        world.send()
    assert world.status(trade)[0] == "pending"
    assert world.broker.sent == []


def test_a_claim_that_another_worker_has_taken_over_sends_nothing(world: TradingWorld):
    """A worker that slept through its lease wakes up before its POST."""
    trade = world.intend()
    with world.begin() as connection:
        (stale,) = trades.claim_trades(connection, world.account.id, lease_s=0, limit=10, except_ids=())
    world.send(lease_s=0)
    with world.begin() as connection:
        assert trades.begin_attempt(connection, stale, lease_s=45) is None
        assert not trades.set_not_sent(
            connection, stale, status=TradeStatus.REJECTED, reason="too late", at=world.now
        )
        trades.release_claims(connection, [stale])
        trades.take_back_attempt(connection, stale)
    assert world.status(trade)[0] == "submitted"
    assert world.trade(trade)["attempts"] == 1


def test_two_workers_at_once_send_every_order_once(world: TradingWorld):
    count = 24
    for _ in range(count):
        world.intend(quantity=1, reserved=500)
    with ThreadPoolExecutor(2) as pool:
        reports = [pool.submit(world.send) for _ in range(2)]
    assert sum(report.result().counts["trades"] for report in reports) == count
    assert orders_at_broker(world) == len(world.broker.sent) == count


@pytest.mark.parametrize("level", HaltLevel)
def test_open_entries_are_cancelled_where_the_halt_says_so(world: TradingWorld, level: HaltLevel):
    world.intend()
    world.check()
    entry = world.intend(limit="150")
    exit_ = world.intend(Side.SELL, limit="250")
    world.check()
    assert [world.status(trade)[0] for trade in (entry, exit_)] == ["submitted"] * 2
    world.halt(level)
    report = world.check()
    is_cancelled = level is not HaltLevel.NO_NEW
    assert world.status(entry)[0] == ("cancelled" if is_cancelled else "submitted")
    assert report.counts["cancelled"] == int(is_cancelled)
    assert world.status(exit_)[0] == "submitted"


def test_real_money_that_is_not_allowed_any_more_sends_nothing_exits_neither(world: TradingWorld):
    held = world.intend()
    world.check()
    entry, exit_ = world.intend(symbol=MSFT), world.intend(Side.SELL)
    world.rows("UPDATE broker_accounts SET environment = 'live' RETURNING id")
    with world.begin() as connection:
        live_permissions.permit(
            connection, "paper", world.account_number, reason="go", actor="me", at=world.now
        )
    world.broker.before_post = lambda: revoke_live(
        world.begin, world.account_number, reason="stop", actor="me", at=world.now
    )
    world.send()
    assert world.status(held)[0] == "filled"
    assert world.status(exit_)[0] == "submitted", "it was allowed when it left"
    assert world.status(entry) == ("cancelled", 0)
    assert "may not trade real money any more" in world.trade(entry)["status_reason"]
    world.broker.before_post = lambda: None
    late = world.intend(Side.SELL)
    world.send()
    assert world.status(late) == ("cancelled", 0)
