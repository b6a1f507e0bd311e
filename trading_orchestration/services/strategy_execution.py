"""`strategy_execution`: signals of every enabled strategy → risk and sizing → trades sent to the broker."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.factors import PriceHistory
from trading_orchestration.domain.money import plain
from trading_orchestration.domain.price import Quote, Timeframe
from trading_orchestration.domain.risk import (
    Approved,
    Holdings,
    Refused,
    plan_entries_and_exits,
    plan_exits,
)
from trading_orchestration.domain.strategy import Action, Signal, StrategyDefinition, evaluate, warm_up
from trading_orchestration.domain.trade import Side, client_order_id
from trading_orchestration.errors import (
    BrokerUnavailableError,
    InvalidInputError,
    TradingError,
)
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import client_order_id_prefix
from trading_orchestration.store import alerts, ledger, portfolios, prices, trades
from trading_orchestration.store.alerts import Notification, Severity
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account, Portfolio, Strategy
from trading_orchestration.store.trades import Decision, NewTrade

_RISK_EXITS = 0  # stands for "no strategy" in a client order id


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyExecution:
    """Runs the strategies of all portfolios at one tick. `submission_of` opens the way to an account."""

    begin: Begin
    accounts: Mapping[int, Account]
    submission_of: Callable[[Account], Submission]
    quote_age_max: timedelta

    def run(self, tick: Tick) -> Report:
        """Decide for every portfolio, then send. One portfolio that fails does not stop the others.

        Counts `portfolios`, `signals` (not HOLD), `trades` sent, `rejected` and `errors`.
        """
        report = Report()
        with self.begin() as connection:
            active = [p for p in portfolios.read_portfolios(connection) if p.is_active]
            enabled = [s for s in portfolios.read_strategies(connection) if s.is_enabled]
        for portfolio in active:
            mine = [strategy for strategy in enabled if strategy.portfolio_id == portfolio.id]
            try:
                report.add(self._decide(tick, portfolio, mine))
                report.counts["portfolios"] += 1
            except TradingError as error:
                report.fail(f"portfolio {portfolio.name}", error)
        crashpoint("after_decisions")
        for account in self.accounts.values():
            self._send(account, report)
        return report

    def _send(self, account: Account, report: Report) -> None:
        try:
            sent = self.submission_of(account).send_pending()
        except BrokerUnavailableError as error:
            report.fail(f"account {account.account_number}", error)
            return
        report.add(sent.counts)
        report.problems += sent.problems

    def _decide(self, tick: Tick, portfolio: Portfolio, strategies: Sequence[Strategy]) -> Counter[str]:
        counts: Counter[str] = Counter()
        with self.begin() as connection:
            portfolios.hold_portfolio(connection, portfolio.id)
            decided = trades.decided_strategies(connection, portfolio.id, tick.at)
            readable = self._readable(connection, tick, strategies, counts)
            view = self._view(connection, tick, portfolio, readable)
            if None not in decided:
                view = self._decide_exits(connection, tick, view)
            for strategy, definition in readable:
                if strategy.id not in decided:
                    view = self._decide_strategy(connection, tick, view, strategy, definition, counts)
            crashpoint("before_decision_commit")
        return counts

    def _readable(
        self, connection: Connection, tick: Tick, strategies: Sequence[Strategy], counts: Counter[str]
    ) -> list[tuple[Strategy, StrategyDefinition]]:
        """The strategies whose definition this code accepts; the others are told of and left out."""
        readable = []
        for strategy in strategies:
            try:
                definition = strategy.parsed()
            except InvalidInputError as error:
                counts["errors"] += 1
                portfolios.set_strategy_error(connection, strategy.id, str(error))
                alerts.add_notifications(connection, [_broken(tick, strategy, error)], at=tick.at)
                continue
            if strategy.last_error is not None:
                portfolios.set_strategy_error(connection, strategy.id, None)
            readable.append((strategy, definition))
        return readable

    def _view(
        self,
        connection: Connection,
        tick: Tick,
        portfolio: Portfolio,
        readable: Sequence[tuple[Strategy, StrategyDefinition]],
    ) -> "_View":
        held = {h.position.symbol: h.position for h in ledger.read_positions(connection, [portfolio.id])}
        symbols = set(held).union(*(definition.universe for _, definition in readable))
        quotes = prices.read_quotes(connection, symbols)
        fresh = {s: q for s, q in quotes.items() if tick.at - q.quoted_at <= self.quote_age_max}
        opened = trades.open_trades_of_portfolio(connection, portfolio.id)
        instruments = prices.read_instruments(connection, symbols)
        holdings = Holdings(
            cash=ledger.account_cash(connection, portfolio.broker_account_id)[portfolio.id],
            reserved_cash=sum((t.reserved_cash for t in opened), Decimal(0)),
            positions=held,
            open_buys=_open(opened, Side.BUY),
            open_sells=_open(opened, Side.SELL),
            prices={symbol: quote.price for symbol, quote in fresh.items()},
            equity_at_open=trades.equity_at_open(connection, portfolio.id, tick.session.date),
        )
        halt = portfolios.halt_of(portfolios.read_halts(connection), portfolio.id)
        return _View(
            portfolio=portfolio,
            account=self.accounts[portfolio.broker_account_id],
            holdings=holdings,
            quotes=fresh,
            fractionable=frozenset(s for s, i in instruments.items() if i.is_fractionable),
            histories=_histories(connection, tick, [definition for _, definition in readable]),
            halted=f"Trading is halted: {halt.reason}" if halt else None,
        )

    def _decide_exits(self, connection: Connection, tick: Tick, view: "_View") -> "_View":
        exits = plan_exits(view.holdings, view.portfolio.limits, fractionable=view.fractionable)
        if exits:
            signals = [_exit_json(order, view) for order in exits]
            self._book(connection, tick, view, None, signals, exits)
        return view.after(exits)

    def _decide_strategy(
        self,
        connection: Connection,
        tick: Tick,
        view: "_View",
        strategy: Strategy,
        definition: StrategyDefinition,
        counts: Counter[str],
    ) -> "_View":
        signals = evaluate(definition, view.histories[definition.timeframe])
        wanted = [signal for signal in signals if signal.action is not Action.HOLD]
        approved, refused = plan_entries_and_exits(
            wanted,
            definition.sizing,
            view.holdings,
            view.portfolio.limits,
            fractionable=view.fractionable,
            entries_allowed=view.halted is None,
            refusal=view.halted,
        )
        seen = [_signal_json(signal, view, approved, refused) for signal in signals]
        if self._book(connection, tick, view, strategy.id, seen, approved):
            counts["signals"] += len(wanted)
        return view.after(approved)

    def _book(
        self,
        connection: Connection,
        tick: Tick,
        view: "_View",
        strategy_id: int | None,
        signals: Sequence[Mapping[str, Any]],
        approved: Sequence[Approved],
    ) -> bool:
        """Keep the decision and its trades; False where another run decided first."""
        decision_id = trades.add_decision(
            connection,
            Decision(
                portfolio_id=view.portfolio.id,
                strategy_id=strategy_id,
                tick=tick.at,
                session=tick.session.date,
                equity=view.holdings.equity() or Decimal(0),
                cash=view.holdings.cash,
                signals=signals,
            ),
        )
        if decision_id is None:
            return False
        if approved:
            trades.add_trades(
                connection,
                portfolio_id=view.portfolio.id,
                broker_account_id=view.account.id,
                decision_id=decision_id,
                trades=[_new_trade(tick, view, strategy_id, n, order) for n, order in enumerate(approved)],
                decided_at=tick.at,
            )
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What a portfolio's decisions at one tick are made on."""

    portfolio: Portfolio
    account: Account
    holdings: Holdings
    quotes: Mapping[str, Quote]
    fractionable: frozenset[str]
    histories: Mapping[Timeframe, Mapping[str, PriceHistory]]
    halted: str | None

    def after(self, approved: Sequence[Approved]) -> "_View":
        """The same with these orders open, for the next decision."""
        return replace(self, holdings=self.holdings.after(approved)) if approved else self


def _histories(
    connection: Connection, tick: Tick, definitions: Sequence[StrategyDefinition]
) -> dict[Timeframe, dict[str, PriceHistory]]:
    import numpy as np

    found: dict[Timeframe, dict[str, PriceHistory]] = {}
    for timeframe in sorted({definition.timeframe for definition in definitions}):
        mine = [definition for definition in definitions if definition.timeframe is timeframe]
        rows = prices.read_histories(
            connection,
            sorted({symbol for definition in mine for symbol in definition.universe}),
            timeframe,
            at=tick.at,
            count=max(warm_up(definition) for definition in mine),
        )
        found[timeframe] = {
            symbol: PriceHistory(
                closes=np.asarray(history.closes, np.float64),
                highs=np.asarray(history.highs, np.float64),
                lows=np.asarray(history.lows, np.float64),
                volumes=np.asarray(history.volumes, np.float64),
            )
            for symbol, history in rows.items()
        }
    return found


def _open(opened: Sequence[trades.OpenTrade], side: Side) -> dict[str, Decimal]:
    quantities: dict[str, Decimal] = defaultdict(Decimal)
    for trade in opened:
        if trade.side is side:
            quantities[trade.symbol] += trade.quantity
    return dict(quantities)


def _new_trade(tick: Tick, view: _View, strategy_id: int | None, number: int, order: Approved) -> NewTrade:
    name = client_order_id(
        prefix=client_order_id_prefix(view.account),
        account=view.account.account_number,
        portfolio_id=view.portfolio.id,
        strategy_id=_RISK_EXITS if strategy_id is None else strategy_id,
        tick=tick.at,
        number=number,
    )
    return NewTrade(
        terms=order.terms, client_order_id=name, reserved_cash=order.reserved_cash, reason=order.reason
    )


def _signal_json(
    signal: Signal, view: _View, approved: Sequence[Approved], refused: Sequence[Refused]
) -> dict[str, Any]:
    side = signal.action.value
    outcome: str | None = None
    for order in approved:
        if (order.terms.symbol, order.terms.side) == (signal.symbol, side):
            outcome = f"{order.terms.side} {plain(order.terms.quantity)}"
    for no in refused:
        if (no.symbol, no.side) == (signal.symbol, side):
            outcome = f"refused: {no.reason}"
    return {
        "symbol": signal.symbol,
        "action": side,
        "score": signal.score,
        "factors": dict(signal.factor_scores),
        "reason": signal.reason,
        "outcome": outcome,
        **_quote_json(signal.symbol, view),
    }


def _exit_json(order: Approved, view: _View) -> dict[str, Any]:
    symbol = order.terms.symbol
    return {
        "symbol": symbol,
        "action": order.terms.side.value,
        "reason": order.reason,
        "outcome": f"{order.terms.side} {plain(order.terms.quantity)}",
        **_quote_json(symbol, view),
    }


def _quote_json(symbol: str, view: _View) -> dict[str, Any]:
    quote = view.quotes.get(symbol)
    if quote is None:
        return {"price": None}
    return {"price": plain(quote.price), "quoted_at": quote.quoted_at.isoformat(), "source": quote.source}


def _broken(tick: Tick, strategy: Strategy, error: InvalidInputError) -> Notification:
    return Notification(
        severity=Severity.WARNING,
        kind="strategy",
        title=f"Strategy {strategy.name} cannot be evaluated",
        body=str(error),
        portfolio_id=strategy.portfolio_id,
        dedupe_key=f"strategy:{strategy.id}:{tick.session.date}",
    )
