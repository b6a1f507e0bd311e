"""Signals become orders, or are refused with a reason: cases worked out by hand."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

import pytest

from trading_orchestration.domain.entry_plan import EntryRules, plan_entries_and_exits
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.risk import Approved, Holdings, Refused, RiskLimits
from trading_orchestration.domain.sizing import Sizing
from trading_orchestration.domain.strategy import Action, Signal
from trading_orchestration.domain.trade import OrderTerms, Side

LIMITS = RiskLimits(
    max_position_pct=Decimal("0.25"),
    max_positions=3,
    stop_loss_pct=Decimal("0.1"),
    take_profit_pct=Decimal("0.2"),
    max_daily_loss_pct=Decimal("0.05"),
    min_cash_pct=Decimal("0.02"),
)
ALL = frozenset({"AAPL", "GOOG", "IBM", "MSFT"})
TENTH = Sizing(percent=Decimal(10))


def decimals(amounts: Mapping[str, str]) -> dict[str, Decimal]:
    return {symbol: Decimal(amount) for symbol, amount in amounts.items()}


def holding(
    cash: str = "10000",
    *,
    reserved: str = "0",
    held: Mapping[str, tuple[str, str]] | None = None,
    buys: Mapping[str, str] | None = None,
    sells: Mapping[str, str] | None = None,
    prices: Mapping[str, str] | None = None,
    at_open: str | None = None,
) -> Holdings:
    """`held` is symbol → (quantity, average cost); every price is 100 unless said."""
    return Holdings(
        cash=Decimal(cash),
        reserved_cash=Decimal(reserved),
        positions={s: Position(s, Decimal(q), Decimal(cost)) for s, (q, cost) in (held or {}).items()},
        open_buys=decimals(buys or {}),
        open_sells=decimals(sells or {}),
        prices=decimals(dict.fromkeys(ALL, "100") | dict(prices or {})),
        equity_at_open=None if at_open is None else Decimal(at_open),
    )


def signal(action: str, symbol: str = "AAPL", score: float = 0.5) -> Signal:
    return Signal(
        symbol=symbol, action=Action(action), score=score, reason=f"Score {score}.", factor_scores={}
    )


def plan(
    *signals: Signal,
    holdings: Holdings,
    sizing: Sizing = TENTH,
    limits: RiskLimits = LIMITS,
    fractionable: frozenset[str] = ALL,
    refusal: str | None = None,
) -> tuple[list[Approved], list[Refused]]:
    rules = EntryRules(sizing=sizing, limits=limits, fractionable=fractionable, refusal=refusal)
    return plan_entries_and_exits(signals, holdings, rules)


def ordered(side: str, quantity: str, reserved: str = "0", symbol: str = "AAPL") -> Approved:
    terms = OrderTerms(symbol=symbol, side=Side(side), quantity=Decimal(quantity))
    is_entry = terms.side is Side.BUY
    return Approved(terms=terms, reserved_cash=Decimal(reserved), reason="Score 0.5.", is_entry=is_entry)


@pytest.mark.parametrize(
    ("sizing", "holdings", "quantity", "reserved"),
    [
        pytest.param(
            # 10 % of 10,000 / 100; reserved 10 × 100 × 1.04
            TENTH,
            holding(),
            "10",
            "1040",
            id="a percentage of equity",
        ),
        pytest.param(
            # 50 % is more than the 25 % allowed: 2,500 / 100
            Sizing(percent=Decimal(50)),
            holding(),
            "25",
            "2600",
            id="capped by the position limit",
        ),
        pytest.param(
            # 1,000 / 300 = 3.33 → 3; 3 × 312
            TENTH,
            holding(prices={"AAPL": "300"}),
            "3",
            "936",
            id="whole shares",
        ),
        pytest.param(
            # 1,000 / 300 = 3.333333333; × 312 = 1039.999999896
            Sizing(percent=Decimal(10), fractional=True),
            holding(prices={"AAPL": "300"}),
            "3.333333333",
            "1039.999999896",
            id="fractions",
        ),
        pytest.param(
            # Equity 9,500 + 5 × 100; 10 wanted, 5 held
            TENTH,
            holding("9500", held={"AAPL": ("5", "90")}),
            "5",
            "520",
            id="what is held counts",
        ),
        pytest.param(
            TENTH, holding(reserved="416", buys={"AAPL": "4"}), "6", "624", id="what is on order counts"
        ),
        pytest.param(
            Sizing(shares=Decimal(7)), holding("9900", held={"AAPL": ("1", "90")}), "6", "624", id="shares"
        ),
        pytest.param(
            # Equity 1,000: target 2.5 → 2 × 104 = 208 of 230 − 0.02 × 1,000 = 210
            Sizing(percent=Decimal(25)),
            holding("230", held={"IBM": ("7.7", "100")}),
            "2",
            "208",
            id="down to the cash reserve",
        ),
        pytest.param(
            # Target 2.5; free 104 + 20 − 20 = 104 → 1
            Sizing(percent=Decimal(25)),
            holding("124", held={"IBM": ("8.76", "100")}),
            "1",
            "104",
            id="less than the target where cash is short",
        ),
        pytest.param(
            # 10.5 wanted, 9.97 held: 0.53 is 5.05 % of the target; 0.53 × 104
            Sizing(percent=Decimal("10.5"), fractional=True),
            holding("9003", held={"AAPL": ("9.97", "90")}),
            "0.53",
            "55.12",
            id="topped up from 5 % on",
        ),
    ],
)
def test_a_buy_by_hand(sizing: Sizing, holdings: Holdings, quantity: str, reserved: str) -> None:
    assert plan(signal("buy"), holdings=holdings, sizing=sizing) == ([ordered("buy", quantity, reserved)], [])


def test_fractions_need_an_instrument_that_allows_them() -> None:
    sizing, holdings = Sizing(percent=Decimal(10), fractional=True), holding(prices={"AAPL": "300"})
    approved, _ = plan(signal("buy"), holdings=holdings, sizing=sizing, fractionable=frozenset({"IBM"}))
    assert approved == [ordered("buy", "3", "936")]


@pytest.mark.parametrize(
    ("sizing", "holdings", "reason"),
    [
        pytest.param(TENTH, holding(prices={"AAPL": "0"}), "No price is known for AAPL.", id="no price"),
        pytest.param(
            TENTH,
            holding(held={"IBM": ("1", "1"), "MSFT": ("1", "1")}, prices={"IBM": "0", "MSFT": "0"}),
            "The portfolio's equity is unknown, as no price is known for IBM, MSFT.",
            id="equity unknown",
        ),
        pytest.param(
            TENTH,
            holding("-12.5"),
            "The portfolio's equity is -12.50; there is nothing to buy with.",
            id="negative equity",
        ),
        pytest.param(
            Sizing(shares=Decimal(1)),
            holding("0"),
            "The portfolio's equity is 0.00; there is nothing to buy with.",
            id="no equity",
        ),
        pytest.param(
            TENTH,
            holding("9500", at_open="10000"),
            "Equity fell by 5.00% since the open, from 10,000.00 to 9,500.00; the limit for a day is 5.00%.",
            id="daily loss reached exactly",
        ),
        pytest.param(
            TENTH,
            holding("8500", held={"AAPL": ("-10", "100")}, prices={"AAPL": "1"}),
            "AAPL is held short (-10); strategies trade long positions only.",
            id="short",
        ),
        pytest.param(
            TENTH,
            holding(held={"AAPL": ("1", "100")}, sells={"AAPL": "1"}),
            "A sale of 1 AAPL is still open.",
            id="being sold",
        ),
        pytest.param(
            TENTH,
            holding(held={"IBM": ("1", "1"), "MSFT": ("1", "1")}, buys={"GOOG": "1"}),
            "3 positions are held or on order; the limit is 3.",
            id="too many positions",
        ),
        pytest.param(
            TENTH,
            holding("9000", held={"AAPL": ("10", "100")}),
            "10 AAPL are held or on order, which is the target already.",
            id="at target",
        ),
        pytest.param(
            # 0.4 of 10 is missing, less than 5 %
            Sizing(percent=Decimal(10), fractional=True),
            holding("9040", held={"AAPL": ("9.6", "100")}),
            "9.6 AAPL are held or on order, which is the target already.",
            id="near the target",
        ),
        pytest.param(
            TENTH,
            holding(prices={"AAPL": "2000"}),
            "0.5 AAPL at 2000 round to zero shares.",
            id="less than a share",
        ),
        pytest.param(
            # 26 × 100 = 2,600 of 10,000
            Sizing(shares=Decimal(26)),
            holding(),
            "26 AAPL at 100 would be 26.00% of equity; the limit is 25.00%.",
            id="shares above the position limit",
        ),
        pytest.param(
            # 10 × 104 = 1,040; 1,100 of cash − 2 % of 4,100 = 1,018
            Sizing(shares=Decimal(10)),
            holding("1100", held={"IBM": ("30", "100")}),
            "10 AAPL at 100 need 1,040.00 with 4% on top; 1,018.00 is free above the cash reserve of 2.00%.",
            id="shares are bought whole or not at all",
        ),
        pytest.param(
            TENTH,
            holding("300", reserved="99", held={"IBM": ("97", "100")}, buys={"MSFT": "1"}),
            "10 AAPL at 100 need 1,040.00 with 4% on top; 1.00 is free above the cash reserve of 2.00%.",
            id="reserved cash is spent once",
        ),
    ],
)
def test_a_buy_is_refused_with_the_reason(sizing: Sizing, holdings: Holdings, reason: str) -> None:
    assert plan(signal("buy"), holdings=holdings, sizing=sizing) == (
        [],
        [Refused(symbol="AAPL", side=Side.BUY, reason=reason)],
    )


def test_a_position_that_is_held_may_grow_when_no_new_one_may_open() -> None:
    holdings = holding("9500", held=dict.fromkeys(("AAPL", "GOOG", "IBM"), ("5", "1")), prices={"IBM": "1"})
    approved, _ = plan(signal("buy"), holdings=holdings, sizing=Sizing(shares=Decimal(6)))
    assert approved == [ordered("buy", "1", "104")]


@pytest.mark.parametrize(
    ("at_open", "limit"), [("10000", None), (None, "0.05"), ("0", "0.05"), ("10526.31", "0.05")]
)
def test_a_daily_loss_below_the_limit_or_unknown_blocks_nothing(
    at_open: str | None, limit: str | None
) -> None:
    """10,526.31 × 0.95 = 9,999.9945, which 10,000 is still above."""
    limits = replace(LIMITS, max_daily_loss_pct=None if limit is None else Decimal(limit))
    cash = "9000" if limit is None else "10000"
    approved, _ = plan(signal("buy"), holdings=holding(cash, at_open=at_open), limits=limits)
    assert len(approved) == 1


def test_a_halt_refuses_buys_with_its_reason_and_lets_sells_through() -> None:
    holdings = holding(held={"IBM": ("5", "100")})
    approved, refused = plan(
        signal("buy"), signal("sell", "IBM"), holdings=holdings, refusal="Halted by anna: earnings."
    )
    assert approved == [ordered("sell", "5", symbol="IBM")]
    assert refused == [Refused(symbol="AAPL", side=Side.BUY, reason="Halted by anna: earnings.")]


# ── Selling ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("holdings", "quantity"),
    [
        (holding(held={"AAPL": ("5.25", "100")}), "5.25"),
        (holding(held={"AAPL": ("5.25", "100")}, sells={"AAPL": "2"}), "3.25"),
        (holding("-9000", held={"AAPL": ("5", "100")}, prices={"AAPL": "0"}, at_open="10000"), "5"),
    ],
)
def test_a_sell_closes_what_is_free_whatever_price_cash_and_loss_are(
    holdings: Holdings, quantity: str
) -> None:
    assert plan(signal("sell"), holdings=holdings) == ([ordered("sell", quantity)], [])


def test_what_trades_in_whole_shares_is_sold_in_whole_shares() -> None:
    holdings = holding(held={"AAPL": ("5.25", "100")})
    approved, _ = plan(signal("sell"), holdings=holdings, fractionable=frozenset())
    assert approved == [ordered("sell", "5")]


@pytest.mark.parametrize(
    ("holdings", "reason"),
    [
        (holding(), "No AAPL is held that could be sold."),
        (holding(held={"AAPL": ("-1", "100")}), "No AAPL is held that could be sold."),
        (holding(held={"AAPL": ("5", "100")}, sells={"AAPL": "5"}), "All 5 AAPL are on sale already."),
        (
            holding(held={"AAPL": ("0.25", "100")}),
            "0.25 AAPL cannot be sold, as it trades in whole shares only.",
        ),
    ],
)
def test_a_sell_is_refused_with_the_reason(holdings: Holdings, reason: str) -> None:
    assert plan(signal("sell"), holdings=holdings, fractionable=frozenset()) == (
        [],
        [Refused(symbol="AAPL", side=Side.SELL, reason=reason)],
    )


# ── Several signals ──────────────────────────────────────────────────────────────────────────────────


def test_sells_come_first_then_buys_by_score_then_by_symbol() -> None:
    approved, refused = plan(
        signal("buy", "MSFT", 0.5),
        signal("hold", "GOOG"),
        signal("buy", "AAPL", 0.5),
        signal("buy", "GOOG", 0.9),
        signal("sell", "IBM", -0.9),
        holdings=holding("9500", held={"IBM": ("5", "100")}),
        limits=replace(LIMITS, max_positions=4),
    )
    assert [a.terms.symbol for a in approved] == ["IBM", "GOOG", "AAPL", "MSFT"]
    assert refused == []


def test_a_buy_sees_the_cash_that_the_buys_before_it_left() -> None:
    """60 % of 10,000 is 60 shares and 6,240; 10,000 − 6,240 = 3,760 is enough for 36 more at 104."""
    limits = replace(LIMITS, max_position_pct=Decimal(1), min_cash_pct=Decimal(0))
    approved, refused = plan(
        signal("buy", "AAPL"),
        signal("buy", "IBM"),
        signal("buy", "MSFT"),
        holdings=holding(),
        limits=limits,
        sizing=Sizing(percent=Decimal(60)),
    )
    assert approved == [ordered("buy", "60", "6240"), ordered("buy", "36", "3744", "IBM")]
    assert [r.reason for r in refused] == [
        "60 MSFT at 100 need 6,240.00 with 4% on top; 16.00 is free above the cash reserve of 0.00%."
    ]


def test_the_last_free_place_goes_to_the_highest_score() -> None:
    holdings = holding(held={"GOOG": ("1", "1"), "MSFT": ("1", "1")})
    approved, refused = plan(signal("buy", "AAPL", 0.2), signal("buy", "IBM", 0.3), holdings=holdings)
    assert [a.terms.symbol for a in approved] == ["IBM"]
    assert [r.reason for r in refused] == ["3 positions are held or on order; the limit is 3."]


def test_what_a_sell_will_bring_in_is_not_spent_before_it_is_there() -> None:
    holdings = holding("50", held={"IBM": ("99.5", "100")})
    approved, refused = plan(signal("sell", "IBM"), signal("buy"), holdings=holdings)
    assert approved == [ordered("sell", "99.5", symbol="IBM")]
    assert [r.symbol for r in refused] == ["AAPL"]


def test_two_signals_on_one_symbol_do_not_sell_or_buy_it_twice() -> None:
    holdings = holding("9500", held={"IBM": ("5", "100")})
    approved, refused = plan(
        signal("sell", "IBM"), signal("sell", "IBM"), signal("buy"), signal("buy"), holdings=holdings
    )
    assert [(a.terms.symbol, a.terms.quantity) for a in approved] == [
        ("IBM", Decimal(5)),
        ("AAPL", Decimal(10)),
    ]
    assert [r.reason for r in refused] == [
        "All 5 IBM are on sale already.",
        "10 AAPL are held or on order, which is the target already.",
    ]
