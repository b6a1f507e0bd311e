"""The paper broker: accepts, refuses and fills orders from the prices it is given.

A system of its own that happens to keep its books in PostgreSQL: it uses its own transactions, never the
caller's, and a caller that is killed at any instant leaves an order there wholly or not at all.

    open_account(engine, "PAPER-1", Decimal(100_000))
    broker = PaperBroker(engine, account_number="PAPER-1", calendar=calendar, clock=clock)
    broker.give_prices([PriceTick("AAPL", Decimal("187.15"))], at=clock())
    broker.submit_order("demo-1", OrderTerms(symbol="AAPL", side=Side.BUY, quantity=Decimal(10)))
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice

from trading_orchestration.brokers import BrokerSurroundings
from trading_orchestration.brokers.broker import (
    BrokerAccount,
    BrokerClock,
    BrokerOrder,
    BrokerPosition,
    BrokerSession,
    CashActivity,
    Execution,
    OrderStatus,
)
from trading_orchestration.brokers.paper_account import broker_errors
from trading_orchestration.domain.commission import Commission
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.matching import (
    BookExecution,
    BookOrder,
    Match,
    OrderState,
    PaperSettings,
    PriceTick,
    match,
)
from trading_orchestration.domain.order_acceptance import (
    Circumstances,
    Refusal,
    RefusalReason,
    malformed,
    refusal,
    unit_reserve,
)
from trading_orchestration.domain.order_hours import (
    active_from,
    session_ahead,
    session_priced_at,
    spans_ahead,
)
from trading_orchestration.domain.position import Position
from trading_orchestration.domain.trade import OrderTerms, TimeInForce
from trading_orchestration.errors import (
    BrokerError,
    BrokerRefusedError,
    BrokerUnavailableError,
    BrokerUnknownError,
    InvalidInputError,
)
from trading_orchestration.settings import Settings
from trading_orchestration.store import paper_actions, paper_market
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import Connection, Engine

#: Under which order ids are made of the account and the client order id: the same in every replay.
ORDER_ID_NAMESPACE = uuid.UUID("6f3b1a4e-64d5-5c0e-9a55-6b1a5f0f2d11")

_STATUSES = {
    OrderState.ACCEPTED: OrderStatus.OPEN,
    OrderState.PARTIALLY_FILLED: OrderStatus.PARTIALLY_FILLED,
    OrderState.FILLED: OrderStatus.FILLED,
    OrderState.CANCELLED: OrderStatus.CANCELLED,
    OrderState.EXPIRED: OrderStatus.EXPIRED,
    OrderState.REJECTED: OrderStatus.REJECTED,
}


class PaperRefusedError(BrokerRefusedError):
    """The paper broker's no, with its reason for a caller that must tell the cases apart."""

    def __init__(self, refused: Refusal) -> None:
        super().__init__(
            refused.sentence,
            is_duplicate_client_order_id=refused.reason is RefusalReason.DUPLICATE_CLIENT_ORDER_ID,
            is_about_fractions=refused.reason is RefusalReason.NOT_FRACTIONABLE,
        )
        self.reason = refused.reason


class PaperBroker:
    """One account of the paper market; implements `Broker`.

    `clock` gives the instant of each call (UTC) and `calendar` the exchange's sessions. Prices come by
    `give_prices` alone, and only to this account.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        account_number: str,
        calendar: MarketCalendar,
        clock: Clock,
        settings: PaperSettings | None = None,
    ) -> None:
        self._engine = engine
        self._reads = paper_market.without_transactions(engine)
        self._account_number = account_number
        self._calendar = calendar
        self._clock = clock
        self._settings = settings or PaperSettings()

    # The market ────────────────────────────────────────────────────────────────────────────────────────

    def give_prices(self, prices: Sequence[PriceTick], *, at: datetime) -> int:
        """Move the market to these prices at `at` (UTC) and fill the orders they meet, oldest first.

        Returns the number of executions. An order meets a tick's bar only when it was there as the bar began.
        A price that is not newer than the symbol's last one is ignored, so that giving prices twice changes
        nothing. Outside a session prices are noted and nothing is filled.

        Raises:
            InvalidInputError: a symbol comes twice.
            BrokerUnavailableError: nothing was done, or all of it; the same call may be made again.
        """
        if not prices:
            return 0
        ticks = {tick.symbol: tick for tick in prices}
        if len(ticks) < len(prices):
            raise InvalidInputError(
                f"{len(prices)} prices were given for {len(ticks)} symbols; give one each."
            )
        is_trading = session_priced_at(self._calendar, at) is not None
        with self._writing(BrokerUnavailableError) as connection:
            resting = paper_market.move_prices(
                connection, self._account_number, prices, at=at, is_trading=is_trading
            )
            met = [
                match(one.order, ticks[one.order.terms.symbol], at=at, settings=self._settings)
                for one in resting
            ]
            matches = [matched for matched in met if matched is not None]
            holdings = {one.holding.symbol: one.holding for one in resting}
            self._apply(connection, matches, holdings, at=at)
        return sum(matched.execution is not None for matched in matches)

    def apply_actions(self, actions: Sequence[RecordedAction], *, at: datetime) -> None:
        """Bring the account through corporate actions, in the order given; the same again changes nothing.

        Orders from before a split, a symbol change or a delisting are cancelled. Raises
        BrokerUnavailableError: nothing was done, or all of it; the same call may be made again.
        """
        with self._writing(BrokerUnavailableError) as connection:
            for action in paper_actions.unapplied(connection, self._account_number, actions):
                paper_actions.apply_action(connection, self._account_number, action, at=at)

    def withdraw_action(self, action: RecordedAction) -> None:
        """Take back what a corporate action did to the account. Raises as `apply_actions`."""
        with self._writing(BrokerUnavailableError) as connection:
            paper_actions.withdraw_action(connection, self._account_number, action)

    # What acts ─────────────────────────────────────────────────────────────────────────────────────────

    def submit_order(self, client_order_id: str, terms: OrderTerms) -> BrokerOrder:
        """See `Broker`. The answer is the order as it was taken; a fill on arrival shows on the next read."""
        refused = malformed(client_order_id, terms)
        if refused:
            raise PaperRefusedError(refused)
        now = self._clock()
        with self._writing(BrokerUnknownError) as connection:
            known = paper_market.circumstances(
                connection, self._account_number, client_order_id, terms.symbol, now=now
            )
            refused = refusal(client_order_id, terms, known, self._settings)
            if refused:
                raise PaperRefusedError(refused)
            order = self._taken(client_order_id, terms, known, now)
            paper_market.insert_order(connection, self._account_number, order)
            matched = self._match_on_arrival(order, known, now)
            holding = Position(terms.symbol, known.held_quantity, known.average_entry_price)
            self._apply(connection, [matched] if matched else [], {terms.symbol: holding}, at=now)
        return _broker_order(order)

    def cancel_order(self, broker_order_id: str) -> None:
        """See `Broker`. The order is cancelled at once."""
        now, order_id = self._clock(), _order_id(broker_order_id)
        with self._asking(BrokerUnknownError) as connection:
            if order_id and paper_market.cancel_order(connection, self._account_number, order_id, now=now):
                return
        order = self.get_order(broker_order_id)
        if order is None:
            raise BrokerRefusedError(f"order not found for {broker_order_id}.")
        raise BrokerRefusedError(
            f"Order {broker_order_id} is {order.status} and cannot be cancelled any more."
        )

    # What asks ─────────────────────────────────────────────────────────────────────────────────────────

    def get_order(self, broker_order_id: str) -> BrokerOrder | None:
        """See `Broker`."""
        order_id = _order_id(broker_order_id)
        if order_id is None:
            return None
        with self._asking() as connection:
            order = paper_market.order_by_id(connection, self._account_number, order_id, now=self._clock())
        return _broker_order(order) if order else None

    def get_order_by_client_id(self, client_order_id: str) -> BrokerOrder | None:
        """See `Broker`."""
        with self._asking() as connection:
            order = paper_market.order_by_client_id(
                connection, self._account_number, client_order_id, now=self._clock()
            )
        return _broker_order(order) if order else None

    def list_open_orders(self) -> Sequence[BrokerOrder]:
        """See `Broker`."""
        with self._asking() as connection:
            orders = paper_market.open_orders(connection, self._account_number, now=self._clock())
        return [_broker_order(order) for order in orders]

    def list_orders(self, *, after: datetime) -> Sequence[BrokerOrder]:
        """See `Broker`."""
        with self._asking() as connection:
            orders = paper_market.orders_after(
                connection, self._account_number, after=after, now=self._clock()
            )
        return [_broker_order(order) for order in orders]

    def list_executions(self, *, after: datetime) -> Sequence[Execution]:
        """See `Broker`. In a replay many executions share one instant: read with an overlap."""
        with self._asking() as connection:
            executions = paper_market.executions_after(connection, self._account_number, after=after)
        return [_execution(execution) for execution in executions]

    def get_positions(self) -> Sequence[BrokerPosition]:
        """See `Broker`."""
        with self._asking() as connection:
            held = paper_market.positions(connection, self._account_number)
        return [
            BrokerPosition(symbol=one.symbol, quantity=one.quantity, average_entry_price=one.average_cost)
            for one in held
        ]

    def get_account(self) -> BrokerAccount:
        """See `Broker`."""
        with self._asking() as connection:
            money = paper_market.account_money(connection, self._account_number, now=self._clock())
        return BrokerAccount(
            account_number=money.account_number,
            currency=money.currency,
            cash=money.cash,
            equity=money.equity,
            buying_power=money.buying_power,
            is_blocked=False,
        )

    def get_clock(self) -> BrokerClock:
        """See `Broker`."""
        now = self._clock()
        ahead = list(islice(spans_ahead(self._calendar, now), 2))
        return BrokerClock(
            now=now,
            is_open=any(start <= now for start, _ in ahead),
            next_open=next((start for start, _ in ahead if start > now), None),
            next_close=ahead[0][1] if ahead else None,
        )

    def get_calendar(self, *, first: date, last: date) -> Sequence[BrokerSession]:
        """See `Broker`."""
        return [
            BrokerSession(session=session.date, opens_at=session.opens_at, closes_at=session.closes_at)
            for session in self._calendar.sessions_between(first, last)
        ]

    def list_cash_activities(self, *, after: datetime) -> Sequence[CashActivity]:
        """See `Broker`. A paper account has none: its fees are part of its executions."""
        del after
        return ()

    def unfamiliar(self) -> Sequence[str]:
        """See `Broker`. Its words are all ours."""
        return ()

    # Inside ────────────────────────────────────────────────────────────────────────────────────────────

    def _taken(
        self, client_order_id: str, terms: OrderTerms, known: Circumstances, now: datetime
    ) -> BookOrder:
        is_day = terms.time_in_force is TimeInForce.DAY
        name = f"{self._account_number}|{client_order_id}"
        return BookOrder(
            order_id=str(uuid.uuid5(ORDER_ID_NAMESPACE, name)),
            client_order_id=client_order_id,
            terms=terms,
            state=OrderState.ACCEPTED,
            unit_reserve=unit_reserve(terms, known, self._settings),
            submitted_at=now,
            active_from=active_from(self._calendar, now),
            expires_at=session_ahead(self._calendar, now).closes_at if is_day else None,
            updated_at=now,
        )

    def _match_on_arrival(self, order: BookOrder, known: Circumstances, now: datetime) -> Match | None:
        """What the session's last price does to a new order; a price from before the open does nothing."""
        if order.active_from > now or known.last_price is None or known.priced_at is None:
            return None
        if known.priced_at < session_ahead(self._calendar, now).opens_at:
            return None
        tick = PriceTick(order.terms.symbol, known.last_price)
        return match(order, tick, at=now, settings=self._settings)

    def _apply(
        self, connection: Connection, matches: list[Match], holdings: dict[str, Position], *, at: datetime
    ) -> None:
        if matches:
            paper_market.apply_matches(connection, self._account_number, matches, holdings, at=at)

    @contextmanager
    def _asking(self, lost: type[BrokerError] = BrokerUnavailableError) -> Iterator[Connection]:
        with broker_errors(lost), paper_market.connected(self._reads) as connection:
            yield connection

    @contextmanager
    def _writing(self, lost: type[BrokerError]) -> Iterator[Connection]:
        with broker_errors(lost), paper_market.writing(self._engine, self._account_number) as connection:
            yield connection


def _order_id(text: str) -> str | None:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return None


def _broker_order(order: BookOrder) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=order.order_id,
        client_order_id=order.client_order_id,
        terms=order.terms,
        status=_STATUSES[order.state],
        vendor_status=order.state,
        filled_quantity=order.filled_quantity,
        filled_average_price=order.filled_average_price,
        submitted_at=order.submitted_at,
    )


def _execution(execution: BookExecution) -> Execution:
    fill = execution.fill
    return Execution(
        execution_id=execution.execution_id,
        broker_order_id=execution.order_id,
        symbol=fill.symbol,
        side=fill.side,
        quantity=fill.quantity,
        price=fill.price,
        cumulative_quantity=execution.cumulative_quantity,
        executed_at=fill.executed_at,
        fee=fill.fee,
    )


def open_broker(surroundings: BrokerSurroundings) -> PaperBroker:
    """The paper account, with the settings of the installation."""
    return PaperBroker(
        surroundings.engine,
        account_number=surroundings.account_number,
        calendar=surroundings.calendar,
        clock=surroundings.clock,
        settings=paper_settings(surroundings.settings),
    )


def paper_settings(settings: Settings) -> PaperSettings:
    """How the paper market of an installation treats orders."""
    return PaperSettings(
        partial_fill_fraction=settings.trading_paper_fill_fraction,
        commission=Commission(
            per_share=settings.trading_paper_commission_per_share,
            per_order=settings.trading_paper_commission_per_order,
            rate=settings.trading_paper_commission_pct,
            minimum=settings.trading_paper_commission_minimum,
        ),
        slippage_bps=settings.trading_paper_slippage_bps,
        allow_short=settings.trading_paper_allow_short,
    )
