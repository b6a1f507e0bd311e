"""Short positions, reversals and what an order costs: cases worked out by hand."""

from collections.abc import Mapping
from decimal import Decimal

import pytest

from trading_orchestration.domain.commission import Commission, EntryCosts
from trading_orchestration.domain.entry_plan import EntryRules, plan_entries_and_exits
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.risk import Approved, Holdings, RiskLimits
from trading_orchestration.domain.sizing import Direction, Sizing
from trading_orchestration.domain.strategy import Action, Signal

FREE = RiskLimits(
    max_position_pct=Decimal(1),
    max_positions=10,
    stop_loss_pct=None,
    take_profit_pct=None,
    max_daily_loss_pct=None,
    min_cash_pct=Decimal(0),
)
EVERYTHING = Sizing(percent=Decimal(100))
NO_COSTS = EntryCosts(buffer=Decimal(0))


def holdings(cash: str, **held: str) -> Holdings:
    """Every price is 30."""
    return Holdings(
        cash=Decimal(cash),
        reserved_cash=Decimal(0),
        positions={s: Position(s, Decimal(q), Decimal(30)) for s, q in held.items()},
        open_buys={},
        open_sells={},
        prices=dict.fromkeys(("AAPL", "IBM"), Decimal(30)),
        equity_at_open=None,
    )


def signal(action: str, symbol: str = "AAPL") -> Signal:
    return Signal(symbol=symbol, action=Action(action), score=1.0, reason="", factor_scores={})


def plan(
    *signals: Signal,
    of: Holdings,
    direction: str = "both",
    sizing: Sizing = EVERYTHING,
    costs: EntryCosts = NO_COSTS,
    refusals: Mapping[str, str] | None = None,
) -> tuple[list[tuple[str, str, bool]], list[str]]:
    """The orders as (side, quantity, whether it is an entry), and why others are refused."""
    rules = EntryRules(
        sizing=sizing,
        limits=FREE,
        fractionable=frozenset({"AAPL", "IBM"}),
        direction=Direction(direction),
        costs=costs,
        refusals=refusals or {},
    )
    approved, refused = plan_entries_and_exits(signals, of, rules)
    return list(map(_told, approved)), [no.reason for no in refused]


def _told(order: Approved) -> tuple[str, str, bool]:
    return order.terms.side.value, str(order.terms.quantity), order.is_entry


@pytest.mark.parametrize(
    ("action", "of", "direction", "orders"),
    [
        # 1,000 / 30 = 33.3
        ("sell", holdings("1000"), "both", [("sell", "33", True)]),
        ("sell", holdings("1000"), "short", [("sell", "33", True)]),
        ("buy", holdings("1000"), "both", [("buy", "33", True)]),
        # 33 long and 10 of cash: once sold there are 1,000
        ("sell", holdings("10", AAPL="33"), "both", [("sell", "33", False), ("sell", "33", True)]),
        ("sell", holdings("10", AAPL="33"), "long", [("sell", "33", False)]),
        # 33 short and their 990 in cash: once bought back there are 1,000
        ("buy", holdings("1990", AAPL="-33"), "both", [("buy", "33", False), ("buy", "33", True)]),
        ("buy", holdings("1990", AAPL="-33"), "short", [("buy", "33", False)]),
    ],
)
def test_a_signal_against_a_position_closes_it_and_opens_the_other_side_where_that_is_wanted(
    action: str, of: Holdings, direction: str, orders: list[tuple[str, str, bool]]
):
    assert plan(signal(action), of=of, direction=direction) == (orders, [])


@pytest.mark.parametrize(
    ("action", "of", "direction", "reason"),
    [
        ("sell", holdings("1000"), "long", "No AAPL is held that could be sold."),
        ("buy", holdings("1000"), "short", "No AAPL is held that could be bought back."),
        (
            "buy",
            holdings("1990", AAPL="-33"),
            "long",
            "held short (-33); strategies trade long positions only.",
        ),
        (
            "sell",
            holdings("10", AAPL="33"),
            "short",
            "held long (33); strategies trade short positions only.",
        ),
        ("sell", holdings("1990", AAPL="-33"), "both", "which is the target already."),
    ],
)
def test_what_a_strategy_does_not_trade_is_refused(action: str, of: Holdings, direction: str, reason: str):
    orders, refused = plan(signal(action), of=of, direction=direction)
    assert orders == []
    assert refused[0].endswith(reason)


def test_what_stands_against_an_entry_lets_the_other_side_be_closed():
    orders, refused = plan(
        signal("sell"), of=holdings("10", AAPL="33"), refusals={"AAPL": "Its price is odd."}
    )
    assert orders == [("sell", "33", False)]
    assert refused == ["Its price is odd."]


def test_the_proceeds_of_a_short_position_pay_for_nothing():
    """500 of equity are 15 short and their 450 in cash; 50 are left for one share."""
    of = holdings("950", IBM="-15")
    assert plan(signal("buy"), of=of)[0] == [("buy", "1", True)]


def test_nothing_is_added_to_a_position_without_top_up():
    sizing = Sizing(percent=Decimal(100), top_up=False)
    orders, refused = plan(signal("buy"), of=holdings("600", AAPL="1"), sizing=sizing)
    assert (orders, refused) == ([], ["1 AAPL are held or on order, and nothing is added to them."])


@pytest.mark.parametrize(
    ("commission", "quantity"),
    [
        # 33 cost 990 + 9.90; with 11 an order 32 + 960 are what 1,000 pay for
        (Commission(rate=Decimal("0.01")), "33"),
        (Commission(rate=Decimal("0.0102")), "32"),
        (Commission(per_order=Decimal(11)), "32"),
        (Commission(per_share=Decimal("0.3")), "33"),
        (Commission(per_share=Decimal("0.31")), "32"),
        (Commission(minimum=Decimal("10.01")), "32"),
        (Commission(per_share=Decimal("0.01"), minimum=Decimal(10)), "33"),
    ],
)
def test_all_of_the_cash_pays_for_the_shares_and_their_commission(commission: Commission, quantity: str):
    costs = EntryCosts(buffer=Decimal(0), commission=commission)
    assert plan(signal("buy"), of=holdings("1000"), costs=costs)[0] == [("buy", quantity, True)]


def test_a_reversal_pays_for_closing_before_it_opens():
    """33 bring in 990 − 9.90; 990.10 / 30.30 are 32.7."""
    costs = EntryCosts(buffer=Decimal(0), commission=Commission(rate=Decimal("0.01")))
    orders, _ = plan(signal("sell"), of=holdings("10", AAPL="33"), costs=costs)
    assert orders == [("sell", "33", False), ("sell", "32", True)]
