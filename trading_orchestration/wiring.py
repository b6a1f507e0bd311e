"""Settings → database, calendar, brokers, price sources, services. Nothing else builds them."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from trading_orchestration.brokers import BrokerSurroundings, open_broker
from trading_orchestration.brokers.broker import Broker
from trading_orchestration.domain.commission import USUAL_COSTS, EntryCosts
from trading_orchestration.domain.job import JobType
from trading_orchestration.domain.market_time import Clock, MarketCalendar
from trading_orchestration.domain.matching import PriceTick
from trading_orchestration.domain.price import Quote
from trading_orchestration.errors import SettingsError
from trading_orchestration.market_data import SourceSurroundings, open_action_source, open_source
from trading_orchestration.market_data.calendars import load_calendar
from trading_orchestration.notifications.routing import Routing, read_routing
from trading_orchestration.services.actions_fetch import FetchedActions, fetch_actions
from trading_orchestration.services.alert_price_check import check_alerts
from trading_orchestration.services.corporate_actions import ActionWatch, apply_due_actions
from trading_orchestration.services.daily_bars import DailyBars
from trading_orchestration.services.entry_check import EntryCheck
from trading_orchestration.services.job_monitoring import JobMonitoringService
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.services.portfolio_setup import PAPER
from trading_orchestration.services.portfolio_snapshot import SnapshotReport, take_snapshots
from trading_orchestration.services.position_sync import sync_positions
from trading_orchestration.services.price_data import PriceDataService, QuoteListener
from trading_orchestration.services.price_update import PriceUpdate, update_prices
from trading_orchestration.services.strategy_execution import StrategyExecution
from trading_orchestration.services.submission import Submission
from trading_orchestration.services.tick import Report, Tick
from trading_orchestration.services.trading import TradingService
from trading_orchestration.settings import Settings
from trading_orchestration.store import live_permissions, migrations, portfolios
from trading_orchestration.store.corporate_actions import RecordedAction
from trading_orchestration.store.database import (
    Engine,
    create_engine,
    transaction,
)
from trading_orchestration.store.installed import open_databases
from trading_orchestration.store.jobs import Begin
from trading_orchestration.store.portfolios import Account
from trading_orchestration.stream.price_stream import WebSocketService

if TYPE_CHECKING:
    from trading_orchestration.brokers.paper import PaperBroker

Opened = TypeVar("Opened")


def system_clock() -> datetime:
    """The one place where the time of day comes in (UTC)."""
    return datetime.now(UTC)  # noqa: TID251 (this is the clock that everything else is passed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trading:
    """An open installation: everything a job or a command needs, on one clock."""

    settings: Settings
    engine: Engine
    calendar: MarketCalendar
    clock: Clock
    price_data: PriceDataService
    #: Whether the paper market takes its prices from `price_update`; a replay gives it bars instead.
    feeds_paper_market: bool = True
    #: Spares a replay the question whether a corporate action is due; None asks each time.
    action_watch: ActionWatch | None = field(default=None, repr=False, compare=False)
    #: Brokers by account, with their connections, for as long as this is used.
    brokers: dict[int, Broker] = field(default_factory=dict, repr=False, compare=False)

    @property
    def monitoring(self) -> JobMonitoringService:
        """The job record and the breakers."""
        return JobMonitoringService(self.engine, self.calendar, self.clock, jitter=random.random)

    @property
    def begin(self) -> Begin:
        """Transactions outside of a job; a job uses its lease's."""
        return partial(transaction, self.engine)

    def accounts(self) -> list[Account]:
        """The accounts that active portfolios trade through."""
        with transaction(self.engine) as connection:
            return portfolios.read_accounts(connection)

    def broker_of(self, account: Account) -> Broker:
        """The account at its broker, opened once; raises SettingsError where a setting for it is missing."""
        if account.id not in self.brokers:
            self._refuse_live_money_unasked(account)
            surroundings = BrokerSurroundings(
                account_number=account.account_number,
                is_live=account.is_live,
                engine=self.engine,
                calendar=self.calendar,
                clock=self.clock,
                settings=self.settings,
            )
            self.brokers[account.id] = open_broker(account.broker, surroundings)
        return self.brokers[account.id]

    def _refuse_live_money_unasked(self, account: Account) -> None:
        """Real money moves only where its account's number was typed by hand here and in the database."""
        if not account.is_live:
            return
        number = account.account_number
        if number != self.settings.trading_live_account:
            raise SettingsError(
                f"Account {number} at {account.broker} trades real money; to allow it, set "
                "TRADING_LIVE_ACCOUNT to its number."
            )
        with transaction(self.engine) as connection:
            is_permitted = live_permissions.is_permitted(connection, account.broker, number)
        if not is_permitted:
            raise SettingsError(
                f"Account {number} at {account.broker} trades real money, and only the environment allows "
                f"it; run `trading live allow {number} --reason …`, too."
            )

    @property
    def entries(self) -> EntryCheck:
        """What every entry is measured by."""
        return EntryCheck(self.calendar, timedelta(seconds=self.settings.trading_quote_age_max_s))

    def submission_of(self, account: Account, begin: Begin) -> Submission:
        """What sends the orders of an account."""
        return Submission(begin, self.broker_of(account), account, self.entries, self.clock)

    def trading_of(self, account: Account, begin: Begin) -> TradingService:
        """What settles the orders of an account."""
        return TradingService(begin, self.broker_of(account), account, self.calendar, self.clock)

    def execute_strategies(self, tick: Tick, begin: Begin) -> Report:
        """`strategy_execution` at a tick."""
        self.apply_corporate_actions(begin)
        execution = StrategyExecution(
            begin=begin,
            accounts={account.id: account for account in self.accounts()},
            submission_of=lambda account: self.submission_of(account, begin),
            entries=self.entries,
            costs_of=self._entry_costs,
        )
        return execution.run(tick)

    def _entry_costs(self, account: Account) -> EntryCosts:
        """What the paper broker charges; a broker outside values a market order above its price."""
        if account.broker != PAPER:
            return USUAL_COSTS
        from trading_orchestration.brokers.paper import paper_settings

        paper = paper_settings(self.settings)
        return EntryCosts(buffer=paper.slippage_bps / 10_000, commission=paper.commission)

    def sync_positions(self, tick: Tick, begin: Begin) -> Report:
        """`position_sync` at a tick."""
        self.apply_corporate_actions(begin)
        opened, refused = self._opened(lambda account: self.trading_of(account, begin))
        report = sync_positions(tick, opened)
        if refused is not None:
            raise refused
        return report

    def update_prices(self, tick: Tick, begin: Begin) -> PriceUpdate:
        """`price_update` at a tick."""
        return update_prices(
            tick,
            begin=begin,
            price_data=self.price_data,
            stream=WebSocketService(),
            listeners=self._listeners(),
        )

    def take_snapshots(self, sessions: Sequence[date], begin: Begin) -> SnapshotReport:
        """`portfolio_snapshot` of one or more sessions, oldest first.

        Raises InvalidInputError for a date that is no session, or one that has not closed.
        """
        self.apply_corporate_actions(begin)
        return take_snapshots(
            [self.calendar.session(day) for day in sessions],
            begin=begin,
            calendar=self.calendar,
            now=self.clock(),
            price_data=self.price_data,
            carry_sessions=self.settings.trading_carry_close_sessions,
        )

    @property
    def daily_bars(self) -> DailyBars:
        """The daily bars of the configured source."""
        return DailyBars(self.begin, self.calendar, self.clock, self.price_data, self._benchmark)

    def fetch_corporate_actions(
        self, first: date, last: date, *, source_name: str | None = None
    ) -> FetchedActions:
        """The corporate actions of every symbol that matters between two dates (inclusive), into the books.

        They come from the source of that name, or from the first configured one that has them. Raises
        SettingsError where there is none.
        """
        surroundings = _source_surroundings(self.settings, self.engine, self.calendar, self.clock)
        names = self.settings.price_sources if source_name is None else (source_name,)
        source = open_action_source(names, surroundings)
        fetched = fetch_actions(
            source, first, last, begin=self.begin, calendar=self.calendar, benchmark=self._benchmark
        )
        self.apply_corporate_actions(self.begin)
        return fetched

    @property
    def _benchmark(self) -> str | None:
        return self.settings.trading_benchmark.upper() or None

    def check_alerts(self, tick: Tick, begin: Begin) -> Counter[str]:
        """`alert_price_check` at a tick."""
        age = timedelta(seconds=self.settings.trading_quote_age_max_s)
        return check_alerts(tick, begin=begin, quote_age_max=age)

    def check_orders(self, begin: Begin) -> Report:
        """`order_status_check`."""
        opened, refused = self._opened(
            lambda account: (self.submission_of(account, begin), self.trading_of(account, begin))
        )
        report = check_orders(opened)
        if refused is not None:
            raise refused
        return report

    def _opened(self, opener: Callable[[Account], Opened]) -> tuple[list[Opened], SettingsError | None]:
        """The accounts that can be opened, and why another cannot: it must not stop them."""
        opened: list[Opened] = []
        refused: SettingsError | None = None
        for account in self.accounts():
            try:
                opened.append(opener(account))
            except SettingsError as error:
                refused = error
        return opened, refused

    def at(self, clock: Clock) -> "Trading":
        """The same installation on another clock, for a replay; the paper market is then fed by it."""
        source = open_source("stored", _source_surroundings(self.settings, self.engine, self.calendar, clock))
        return replace(
            self,
            clock=clock,
            price_data=PriceDataService([source], clock),
            feeds_paper_market=False,
            action_watch=ActionWatch(),
            brokers={},
        )

    def run_job(self, job_type: JobType, tick: Tick, begin: Begin) -> Report:
        """Any of the six jobs at a tick, as one report."""
        match job_type:
            case JobType.STRATEGY_EXECUTION:
                return self.execute_strategies(tick, begin)
            case JobType.ORDER_STATUS_CHECK:
                return self.check_orders(begin)
            case JobType.POSITION_SYNC:
                return self.sync_positions(tick, begin)
            case JobType.PRICE_UPDATE:
                return Report(self.update_prices(tick, begin).counts)
            case JobType.PORTFOLIO_SNAPSHOT:
                return self.take_snapshots([tick.session.date], begin)
            case JobType.ALERT_PRICE_CHECK:
                return Report(self.check_alerts(tick, begin))

    def give_prices(self, prices: Sequence[PriceTick], at: datetime) -> None:
        """Move the paper market; accounts at other brokers have a market of their own."""
        self.apply_corporate_actions(self.begin)
        if not prices:
            return
        for broker in self._paper_brokers():
            broker.give_prices(prices, at=at)

    def apply_corporate_actions(self, begin: Begin) -> None:
        """Bring the books, and the paper market's, through every corporate action that is due by now."""
        now = self.clock()
        if self.action_watch is None or self.action_watch.is_due(begin, now):
            apply_due_actions(begin, now, self._move_paper_accounts)

    def withdraw_corporate_action(self, action_id: int, *, actor: str, reason: str) -> RecordedAction:
        """Take a corporate action back; raises InvalidInputError for one that is none, or is withdrawn."""
        from trading_orchestration.services.action_entry import withdraw_action

        withdrawn = withdraw_action(self.begin, action_id, actor=actor, reason=reason, at=self.clock())
        for broker in self._paper_brokers():
            broker.withdraw_action(withdrawn)
        return withdrawn

    def _move_paper_accounts(self, actions: Sequence[RecordedAction], at: datetime) -> None:
        for broker in self._paper_brokers():
            broker.apply_actions(actions, at=at)

    def _paper_brokers(self) -> Iterator["PaperBroker"]:
        from trading_orchestration.brokers.paper import PaperBroker

        for account in self.accounts():
            broker = self.broker_of(account) if account.broker == PAPER else None
            if isinstance(broker, PaperBroker):
                yield broker

    def _listeners(self) -> Sequence[QuoteListener]:
        return [self._feed_paper_market] if self.feeds_paper_market else []

    def _feed_paper_market(self, quotes: Sequence[Quote], at: datetime) -> None:
        self.give_prices([PriceTick(quote.symbol, quote.price) for quote in quotes], at)


@contextmanager
def open_trading(settings: Settings, *, clock: Clock = system_clock) -> Iterator[Trading]:
    """Open an installation whose database is up to date.

    Raises DatabaseUnavailableError, SchemaError when `trading db upgrade` is due, SettingsError.
    """
    with open_databases(settings) as urls:
        engine = create_engine(urls.trading, application_name="trading")
        try:
            migrations.check(engine)
            yield build_trading(settings, engine, clock)
        finally:
            engine.dispose()


def build_trading(settings: Settings, engine: Engine, clock: Clock) -> Trading:
    """The installation on an open database."""
    calendar = open_calendar(settings, clock)
    surroundings = _source_surroundings(settings, engine, calendar, clock)
    sources = [open_source(name, surroundings) for name in settings.price_sources]
    return Trading(
        settings=settings,
        engine=engine,
        calendar=calendar,
        clock=clock,
        price_data=PriceDataService(sources, clock, timedelta(seconds=settings.trading_quote_age_max_s)),
    )


def open_calendar(settings: Settings, clock: Clock = system_clock) -> MarketCalendar:
    """The exchange's sessions, from the cache in the home folder where there is one, with special hours."""
    return load_calendar(
        settings.trading_exchange,
        today=clock().date(),
        cache_directory=settings.home / "calendars",
        hours_file=settings.hours_file,
    )


def open_routing(settings: Settings, calendar: MarketCalendar) -> Routing:
    """The channels through which people are told; raises SettingsError."""
    return read_routing(settings, zone=calendar.timezone)


def _source_surroundings(
    settings: Settings, engine: Engine, calendar: MarketCalendar, clock: Clock
) -> SourceSurroundings:
    return SourceSurroundings(engine=engine, calendar=calendar, clock=clock, settings=settings)
