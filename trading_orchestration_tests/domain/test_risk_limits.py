"""Whatever is held, open and signalled: a plan breaks no limit, spends nothing twice, sells what is there."""

from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trading_orchestration.domain.entry_plan import EntryRules, plan_entries_and_exits
from trading_orchestration.domain.money import EXACT, rounded
from trading_orchestration.domain.portfolio import cash_effect, value
from trading_orchestration.domain.position import Position, apply_fill
from trading_orchestration.domain.risk import Approved, Holdings, Refused, RiskLimits, plan_exits
from trading_orchestration.domain.sizing import Sizing
from trading_orchestration.domain.strategy import Action, Signal
from trading_orchestration.domain.trade import Fill, Side

OPEN = datetime(2024, 7, 3, 13, 30, tzinfo=UTC)
ZERO = Decimal(0)
symbols = st.sampled_from("ABCDEF")


@dataclass(frozen=True)
class Case:
    """Everything a plan depends on."""

    holdings: Holdings
    limits: RiskLimits
    sizing: Sizing
    signals: tuple[Signal, ...]
    fractionable: frozenset[str]

    def plan(self) -> tuple[list[Approved], list[Refused]]:
        rules = EntryRules(sizing=self.sizing, limits=self.limits, fractionable=self.fractionable)
        return plan_entries_and_exits(self.signals, self.holdings, rules)

    def buys(self) -> list[Approved]:
        return [approved for approved in self.plan()[0] if approved.terms.side is Side.BUY]

    def equity(self) -> Decimal:
        equity = self.holdings.equity()
        assert equity is not None
        return equity


def between(low: int, high: int, places: int = 9) -> st.SearchStrategy[Decimal]:
    """Numbers of so many places, the bounds included."""
    return st.integers(low * 10**places, high * 10**places).map(lambda n: Decimal(n).scaleb(-places))


def fractions(low: int, high: int) -> st.SearchStrategy[Decimal]:
    """Fractions of four places, in ten-thousandths."""
    return st.integers(low, high).map(lambda n: Decimal(n).scaleb(-4))


def limits(fewest_positions: int) -> st.SearchStrategy[RiskLimits]:
    return st.builds(
        RiskLimits,
        max_position_pct=fractions(100, 10_000),
        max_positions=st.integers(fewest_positions, fewest_positions + 3),
        stop_loss_pct=st.none() | fractions(1, 5000),
        take_profit_pct=st.none() | fractions(1, 20_000),
        max_daily_loss_pct=st.none() | fractions(1, 5000),
        min_cash_pct=fractions(0, 2000),
    )


sizings = st.builds(Sizing, percent=between(1, 100, places=2), fractional=st.booleans()) | st.builds(
    Sizing, shares=st.integers(1, 500).map(Decimal), fractional=st.booleans()
)
signals = st.builds(
    Signal,
    symbol=symbols,
    action=st.sampled_from(Action),
    score=st.integers(-100, 100).map(lambda n: n / 100),
    reason=st.just("Score."),
    factor_scores=st.just({}),
)


@st.composite
def holdings(draw: st.DrawFn, *, least_cash: int) -> Holdings:
    held = draw(st.dictionaries(symbols, st.tuples(between(1, 200), between(1, 300, places=2)), max_size=4))
    shorts = draw(st.frozensets(symbols, max_size=1))
    selling = draw(st.dictionaries(symbols, between(0, 200), max_size=2))
    cash = draw(between(least_cash, 100_000, places=2))
    prices = draw(st.lists(between(1, 300, places=2), min_size=6, max_size=6))
    return Holdings(
        cash=cash,
        reserved_cash=min(draw(between(0, 5000)), max(cash, ZERO)),
        positions={s: Position(s, -q if s in shorts else q, cost) for s, (q, cost) in held.items()},
        open_buys=draw(st.dictionaries(symbols, between(0, 50), max_size=2)),
        open_sells={s: min(q, held[s][0]) for s, q in selling.items() if s in held and s not in shorts},
        prices=dict(zip("ABCDEF", prices, strict=True)),
        equity_at_open=None,
    )


def cases(*, least_cash: int = -100, fewest_positions: int = 1) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        holdings=holdings(least_cash=least_cash),
        limits=limits(fewest_positions),
        sizing=sizings,
        signals=st.lists(signals, min_size=1, max_size=8).map(tuple),
        fractionable=st.frozensets(symbols),
    )


#: Cases of which most lead to a buy.
buying = st.builds(
    lambda case: replace(
        case, signals=case.signals + tuple(replace(s, action=Action.BUY) for s in case.signals)
    ),
    cases(least_cash=10_000, fewest_positions=4),
)
thoroughly = settings(deadline=None, max_examples=80)


def filled(holdings: Holdings, approved: list[Approved]) -> Holdings:
    """The holdings after these orders alone are filled at the prices they were planned at."""
    cash, positions = holdings.cash, dict(holdings.positions)
    for order in approved:
        symbol = order.terms.symbol
        fill = Fill(
            symbol=symbol,
            side=order.terms.side,
            quantity=order.terms.quantity,
            price=holdings.prices.get(symbol, Decimal(1)),
            executed_at=OPEN,
        )
        cash += cash_effect(fill)
        positions[symbol] = apply_fill(positions.get(symbol, Position(symbol)), fill)
    return replace(holdings, cash=cash, positions=positions)


@thoroughly
@given(buying)
def test_buys_never_touch_the_cash_reserve(case: Case) -> None:
    """Neither what they set aside, with the buffer, nor what they cost at the price."""
    buys = case.buys()
    if not buys:
        return
    reserve = rounded(case.limits.min_cash_pct * case.equity())
    after = case.holdings.after(buys)
    assert after.cash - after.reserved_cash >= reserve
    assert filled(case.holdings, buys).cash - case.holdings.reserved_cash >= reserve


@thoroughly
@given(buying)
def test_a_buy_sets_aside_its_price_and_four_percent(case: Case) -> None:
    for buy in case.buys():
        cost = EXACT.multiply(buy.terms.quantity, case.holdings.prices[buy.terms.symbol])
        assert buy.reserved_cash == rounded(EXACT.multiply(cost, Decimal("1.04")))


@thoroughly
@given(buying)
def test_no_bought_position_exceeds_its_part_of_equity(case: Case) -> None:
    """Also when everything on order in the symbol is filled."""
    ceiling = EXACT.multiply(case.limits.max_position_pct, case.equity())
    buys = case.buys()
    after = case.holdings.after(buys)
    for buy in buys:
        symbol = buy.terms.symbol
        quantity = after.quantity(symbol) + after.open_buys[symbol]
        assert EXACT.multiply(quantity, after.prices[symbol]) <= ceiling


@thoroughly
@given(buying)
def test_no_more_positions_than_allowed(case: Case) -> None:
    before = len(case.holdings.symbols_in_use())
    after = len(case.holdings.after(case.buys()).symbols_in_use())
    assert after <= max(before, case.limits.max_positions)


@thoroughly
@given(buying)
def test_a_target_is_never_overshot(case: Case) -> None:
    equity = case.equity()
    after = case.holdings.after(case.buys())
    for buy in case.buys():
        price = after.prices[buy.terms.symbol]
        aimed = after.quantity(buy.terms.symbol) + after.open_buys[buy.terms.symbol]
        if case.sizing.shares is not None:
            assert aimed <= case.sizing.shares
        else:
            assert case.sizing.percent is not None
            assert EXACT.multiply(aimed, price) <= EXACT.multiply(case.sizing.percent / 100, equity)


@thoroughly
@given(buying)
def test_filling_a_plan_at_its_prices_changes_no_equity(case: Case) -> None:
    """Rounding aside: a fill and a valuation round by half a step of 1e-9 for each order."""
    approved, _ = case.plan()
    after = filled(case.holdings, approved)
    total = value(after.cash, after.positions.values(), after.prices).total
    assert abs(total - case.equity()) <= Decimal("1e-9") * (2 * len(approved) + len(case.holdings.positions))


@thoroughly
@given(cases())
def test_after_exits_no_more_is_sold_than_held_and_nothing_is_bought_back(case: Case) -> None:
    exits = plan_exits(case.holdings, case.limits, fractionable=case.fractionable)
    after_exits = replace(case, holdings=case.holdings.after(exits))
    approved, _ = after_exits.plan()
    after = after_exits.holdings.after(approved)
    for symbol, quantity in after.open_sells.items():
        assert quantity <= max(after.quantity(symbol), ZERO)
    exited = {order.terms.symbol for order in exits}
    assert not exited & {order.terms.symbol for order in approved if order.terms.side is Side.BUY}


@thoroughly
@given(cases())
def test_an_exit_only_ever_makes_a_position_smaller(case: Case) -> None:
    exits = plan_exits(case.holdings, case.limits, fractionable=case.fractionable)
    after = filled(case.holdings, exits)
    for order in exits:
        before, left = case.holdings.quantity(order.terms.symbol), after.quantity(order.terms.symbol)
        assert abs(left) < abs(before)
        assert left * before >= 0


@thoroughly
@given(cases())
def test_every_signal_to_trade_has_exactly_one_outcome_with_one_sentence(case: Case) -> None:
    approved, refused = case.plan()
    outcomes = [(a.terms.symbol, a.terms.side.value) for a in approved]
    outcomes += [(r.symbol, r.side.value) for r in refused]
    asked = [(s.symbol, s.action.value) for s in case.signals if s.action is not Action.HOLD]
    assert Counter(outcomes) == Counter(asked)
    for reason in [a.reason for a in approved] + [r.reason for r in refused]:
        assert reason.endswith(".")
        assert "\n" not in reason


@thoroughly
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_in_which_signals_come_in_decides_nothing(case: Case, random: Random) -> None:
    shuffled = list(case.signals)
    random.shuffle(shuffled)
    assert replace(case, signals=tuple(shuffled)).plan() == case.plan()


@thoroughly
@given(cases(), fractions(1, 5000), st.integers(0, 1000))
def test_from_the_daily_loss_on_nothing_is_bought(case: Case, limit: Decimal, more: int) -> None:
    """The equity at the open is chosen so that the loss is the limit or more."""
    equity = case.equity()
    assume(equity > 0)
    at_open = (equity / (1 - limit)).quantize(Decimal("1e-9")) + Decimal("1e-9") * (more + 1)
    losing = replace(
        case,
        holdings=replace(case.holdings, equity_at_open=at_open),
        limits=replace(case.limits, max_daily_loss_pct=limit),
    )
    assert losing.buys() == []


@thoroughly
@given(cases(), st.sets(symbols, min_size=1))
def test_without_every_price_of_what_is_held_nothing_is_bought(case: Case, missing: set[str]) -> None:
    prices = {s: price for s, price in case.holdings.prices.items() if s not in missing}
    blind = replace(case, holdings=replace(case.holdings, prices=prices))
    bought = {buy.terms.symbol for buy in blind.buys()}
    assert not bought & missing
    assert not bought or not missing & blind.holdings.positions.keys()


@thoroughly
@given(cases())
def test_what_is_ordered_can_be_traded(case: Case) -> None:
    """Above zero, on the grid of nine places, and whole where fractions are not allowed."""
    exits = plan_exits(case.holdings, case.limits, fractionable=case.fractionable)
    for order in exits + case.plan()[0]:
        quantity = order.terms.quantity
        assert quantity > 0
        assert quantity == rounded(quantity)
        assert order.terms.symbol in case.fractionable or quantity == int(quantity)
