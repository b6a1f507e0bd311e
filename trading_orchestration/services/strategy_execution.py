"""`strategy_execution`: signals of every enabled strategy → risk and sizing → trades sent to the broker."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from trading_orchestration.crashpoint import crashpoint
from trading_orchestration.domain.commission import USUAL_COSTS, EntryCosts
from trading_orchestration.domain.corporate_action import CorporateAction
from trading_orchestration.domain.entry_plan import EntryRules, plan_entries_and_exits
from trading_orchestration.domain.flatten import plan_flattening
from trading_orchestration.domain.price import Quote, Timeframe
from trading_orchestration.domain.risk import Approved, Holdings, plan_exits
from trading_orchestration.domain.strategy import Action, Signal
from trading_orchestration.domain.trade import Side, client_order_id
from trading_orchestration.services import decision_record
from trading_orchestration.services.entry_check import EntryCheck
from trading_orchestration.services.entry_obstacles import HOUR, outside_collar
from trading_orchestration.services.signals import Evaluated, evaluate_strategies
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import client_order_id_prefix
from trading_orchestration.store import portfolios, prices, trades
from trading_orchestration.store.database import Connection
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account, Halt, HaltLevel, Portfolio
from trading_orchestration.store.trades import Decision, NewTrade

_RISK_EXITS = 0  # stands for "no strategy" in a client order id


@dataclass(frozen=True, slots=True, kw_only=True)
class StrategyExecution:
    """Runs the strategies of all portfolios at one tick.

    `submission_of` opens the way to an account; `costs_of` tells what its orders may cost beyond their price.
    """

    begin: Begin
    accounts: Mapping[int, Account]
    submission_of: Callable[[Account], Submission]
    entries: EntryCheck
    costs_of: Callable[[Account], EntryCosts] = lambda _: USUAL_COSTS

    def run(self, tick: Tick) -> Report:
        """Decide for every portfolio, then send. One portfolio that fails does not stop the others.

        A portfolio decides once a tick: stop losses, take profits and halts first, then each strategy, all in
        one transaction. A retry finds that and only sends what was not sent. Counts `portfolios`, `signals`
        (not HOLD), `trades` sent, `rejected` and `errors`. Raises BrokerNotAuthorizedError or
        SettingsError once all accounts were tried, for a person must mend it.
        """
        report = Report()
        with self.begin() as connection:
            active = [p for p in portfolios.read_portfolios(connection) if p.is_active]
            enabled = [s for s in portfolios.read_strategies(connection) if s.is_enabled]
            decided = trades.decided_portfolios(connection, tick.at)
        undecided = {portfolio.id for portfolio in active} - decided
        mine = [strategy for strategy in enabled if strategy.portfolio_id in undecided]
        signals = evaluate_strategies(self.begin, tick, mine)
        report.counts.update(errors=signals.broken, portfolios=len(active))
        for portfolio in active:
            if portfolio.id in undecided:
                with report.part(f"portfolio {portfolio.name}"):
                    evaluated = signals.by_portfolio.get(portfolio.id, ())
                    report.add(self._decide(tick, portfolio, evaluated))
        crashpoint("after_decisions")
        for account in self.accounts.values():
            with report.part(f"account {account.account_number}"):
                report.include(self.submission_of(account).send_pending())
        report.raise_if_a_person_is_needed()
        return report

    def _decide(self, tick: Tick, portfolio: Portfolio, evaluated: Sequence[Evaluated]) -> Counter[str]:
        counts: Counter[str] = Counter()
        with self.begin() as connection:
            portfolios.hold_portfolio(connection, portfolio.id)
            view = self._view(connection, tick, portfolio, evaluated)
            exits, waiting = view.exits()
            signals = [decision_record.of_exit(order, view.quotes, waiting) for order in exits]
            exits = [order for order in exits if order.terms.symbol not in waiting]
            if not self._book(connection, tick, view, None, signals, exits):
                return counts  # another run decided this tick first
            view = view.after(exits)
            for one in evaluated:
                view = self._decide_strategy(connection, tick, view, one, counts)
            crashpoint("before_decision_commit")
        return counts

    def _view(
        self, connection: Connection, tick: Tick, portfolio: Portfolio, evaluated: Sequence[Evaluated]
    ) -> "_View":
        symbols = {symbol for one in evaluated for symbol in one.definition.universe}
        measured = self.entries.measure(connection, portfolio, symbols, at=tick.at)
        account = self.accounts[portfolio.broker_account_id]
        instruments = prices.read_instruments(connection, symbols | measured.holdings.positions.keys())
        decided = trades.count_decided(connection, portfolio.id, since=tick.at - HOUR)
        return _View(
            portfolio=portfolio,
            account=account,
            holdings=measured.holdings,
            quotes=measured.quotes,
            fractionable=frozenset(s for s, i in instruments.items() if i.is_fractionable),
            splits=measured.splits,
            halted=measured.halted,
            is_compared=account.reconciled_at is not None and account.reconciled_at >= tick.session.opens_at,
            obstacle=self.entries.why_nothing_new(
                connection, measured, account, orders_last_hour=decided, at=tick.at
            ),
        )

    def _decide_strategy(
        self, connection: Connection, tick: Tick, view: "_View", evaluated: Evaluated, counts: Counter[str]
    ) -> "_View":
        wanted = [signal for signal in evaluated.signals if signal.action is not Action.HOLD]
        unbelieved = outside_collar((signal.symbol for signal in wanted), view.quotes, view.splits)
        rules = EntryRules(
            sizing=evaluated.definition.sizing,
            limits=view.portfolio.limits,
            fractionable=view.fractionable,
            refusal=view.obstacle,
            refusals=_why_not_again(connection, tick, view.portfolio, evaluated, wanted) | unbelieved,
            direction=evaluated.definition.direction,
            costs=self.costs_of(view.account),
        )
        approved, refused = plan_entries_and_exits(wanted, view.holdings, rules)
        seen = [decision_record.of_signal(s, view.quotes, approved, refused) for s in evaluated.signals]
        self._book(connection, tick, view, evaluated.strategy.id, seen, approved)
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
    """What a portfolio's decisions at one tick are made on. `obstacle` is why nothing new is bought.

    `is_compared` tells whether its books were compared with the broker's since the session opened.
    """

    portfolio: Portfolio
    account: Account
    holdings: Holdings
    quotes: Mapping[str, Quote]
    fractionable: frozenset[str]
    splits: Mapping[str, Sequence[CorporateAction]]
    halted: Halt | None
    is_compared: bool
    obstacle: str | None = None

    def exits(self) -> tuple[list[Approved], dict[str, str]]:
        """What is closed whatever the strategies say, and the symbols of which that waits, with the reason.

        A price that looks like a split of which the books do not know is no loss: a stop loss at it waits
        until they have been compared with the broker's.
        """
        if self.halted is not None and self.halted.level is HaltLevel.FLATTEN:
            reason = f"Everything is closed: {self.halted.reason}"
            return plan_flattening(self.holdings, fractionable=self.fractionable, reason=reason), {}
        planned = plan_exits(self.holdings, self.portfolio.limits, fractionable=self.fractionable)
        if self.is_compared:
            return planned, {}
        return planned, outside_collar((order.terms.symbol for order in planned), self.quotes, self.splits)

    def after(self, approved: Sequence[Approved]) -> "_View":
        """The same with these orders open, for the next decision."""
        return replace(self, holdings=self.holdings.after(approved)) if approved else self


def _why_not_again(
    connection: Connection, tick: Tick, portfolio: Portfolio, evaluated: Evaluated, wanted: Sequence[Signal]
) -> dict[str, str]:
    """Why what was stopped in this session is not opened again: all day the signal is of the same bar."""
    limits = portfolio.limits
    is_stopped_at_all = limits.stop_loss_pct is not None or limits.take_profit_pct is not None
    if not wanted or not is_stopped_at_all or evaluated.definition.timeframe is not Timeframe.DAY:
        return {}
    stopped = trades.list_stopped(connection, portfolio.id, since=tick.session.opens_at)
    reason = "A stop loss or take profit closed {} in this session, and the signal's daily bar is the same."
    return {
        signal.symbol: reason.format(signal.symbol)
        for signal in wanted
        if (signal.symbol, Side.SELL if signal.action is Action.BUY else Side.BUY) in stopped
    }


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
        terms=order.terms,
        client_order_id=name,
        reserved_cash=order.reserved_cash,
        reason=order.reason,
        is_entry=order.is_entry,
    )
