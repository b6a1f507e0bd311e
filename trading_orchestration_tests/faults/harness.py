"""Two workers, a broker that fails one request in four, and what is left of the orders and the books."""

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from trading_orchestration.brokers.paper_account import open_account
from trading_orchestration.domain.matching import PaperSettings
from trading_orchestration.domain.money import product
from trading_orchestration.domain.trade import OrderTerms, Side
from trading_orchestration.errors import DatabaseUnavailableError, InvalidInputError
from trading_orchestration.services.books_check import check_books
from trading_orchestration.services.halting import halt_trading, resume_trading
from trading_orchestration.services.order_status_check import check_orders
from trading_orchestration.services.position_sync import sync_positions
from trading_orchestration.simulator.clock import SimulatorClock
from trading_orchestration.simulator.faults import Fault, FaultKind, FaultPlan
from trading_orchestration.simulator.market import Market
from trading_orchestration.simulator.server import Simulator, running
from trading_orchestration.store import embedded_postgres, migrations
from trading_orchestration.store.database import Engine, create_engine, transaction
from trading_orchestration.store.embedded_postgres import EmbeddedPostgres
from trading_orchestration.store.portfolios import HaltLevel
from trading_orchestration.store.prices import ensure_instruments
from trading_orchestration_tests.faults.worker import POSTGRES, crash_points, spared
from trading_orchestration_tests.faults.world import (
    BY_HAND,
    CALENDAR,
    CASH,
    LEASE_S,
    PRICE,
    SPEED,
    START,
    SYMBOLS,
    Jobs,
    Way,
    open_books,
)

ROOT = Path(__file__).parents[2]
WORKERS = 2
FAULT_SHARE = 0.25
FAULTS = (
    *(Fault(FaultKind.STATUS_BEFORE, status=status) for status in (429, 500, 503)),
    *(Fault(FaultKind.STATUS_AFTER, status=status) for status in (500, 504)),
    Fault(FaultKind.RESET_BEFORE),
    Fault(FaultKind.RESET_AFTER),
    Fault(FaultKind.LATENCY, seconds=0.2),
    Fault(FaultKind.SLOW_BODY, seconds=1.5),
    Fault(FaultKind.CUT_BODY),
    Fault(FaultKind.MALFORMED),
    Fault(FaultKind.HTML),
    Fault(FaultKind.UNSEEN),
)
#: A portfolio takes on nothing new beyond 200 orders an hour.
ORDERS_PER_PORTFOLIO = 80
#: position_sync asks for at most twenty orders that are nobody's.
BY_HAND_MAX = 10
ACCOUNT = "PAFAULTS"
ACTOR = "fault harness"


@dataclass
class Outcome:
    """What happened, and what is wrong: a run is good when `wrong` is empty."""

    seed: int
    is_short: bool = False
    seconds: float = 0.0
    orders: int = 0
    trades: Counter[str] = field(default_factory=Counter)
    executions: int = 0
    by_hand: int = 0
    requests: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    adrift: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Everything that must not be."""
        wanted = [] if self.is_short else [*crash_points(), POSTGRES]
        missed = [f"nothing was killed at {point}" for point in wanted if not self.kills[point]]
        return [*self.lost, *self.doubled, *self.adrift, *self.other, *missed]

    def lines(self) -> Iterator[str]:
        """The figures as a person reads them."""
        yield f"seed {self.seed}: {self.orders} orders, {self.executions} executions, {self.seconds:.0f} s"
        yield f"trades: {_listed(self.trades)}; executions by hand, found and booked: {self.by_hand}"
        yield f"requests: {self.requests}, faults in {sum(self.faults.values()) / max(self.requests, 1):.1%}"
        yield f"faults: {_listed(self.faults)}"
        yield f"SIGKILLs: {self.kills.total()} ({_listed(self.kills)})"
        yield f"failures the jobs met: {_listed(self.problems)}"
        yield f"lost {len(self.lost)}, doubled {len(self.doubled)}, adrift {len(self.adrift)}"
        yield from (f"WRONG: {sentence}" for sentence in self.wrong)


def run(
    orders: int, seed: int, *, home: Path, vendor: Engine, seconds: float, is_short: bool = False
) -> Outcome:
    """Trade until the broker has that many orders and everything was killed once, at most `seconds` long.

    A short run ends with the last order, wherever nothing was killed by then.
    `home` gets the embedded PostgreSQL that is killed; the broker keeps its books in `vendor`.
    """
    with ExitStack() as stack:
        server = stack.enter_context(embedded_postgres.use(home))
        engine = create_engine(server.trading_url, application_name="faults")
        stack.callback(engine.dispose)
        migrations.upgrade(engine)
        count = max(2, -(-orders // ORDERS_PER_PORTFOLIO))
        market = open_market(vendor, count)
        simulator = stack.enter_context(running(market, faults=FaultPlan(seed)))
        open_books(engine, ACCOUNT, count)
        harness = Harness(Outcome(seed, is_short), home, server, engine, simulator, random.Random(seed))
        harness.trade(orders, seconds)
        harness.finish()
        return harness.outcome


def open_market(vendor: Engine, count: int) -> Market:
    """An account at the broker with the cash of all portfolios; orders are filled in two parts."""
    open_account(vendor, ACCOUNT, CASH * count)
    with transaction(vendor) as connection:
        ensure_instruments(connection, [*SYMBOLS, BY_HAND])
    settings = PaperSettings(partial_fill_fraction=Decimal("0.5"))
    market = Market(vendor, ACCOUNT, CALENDAR, SimulatorClock(START, speed=SPEED), settings=settings)
    market.set_prices(dict.fromkeys((*SYMBOLS, BY_HAND), PRICE))
    return market


def faults() -> list[Fault]:
    """Each kind meets an equal part of a quarter of all requests; the first that does is taken."""
    part = FAULT_SHARE / len(FAULTS)
    return [
        Fault(f.kind, times=None, probability=part / (1 - n * part), status=f.status, seconds=f.seconds)
        for n, f in enumerate(FAULTS)
    ]


@dataclass
class Harness:
    """One run."""

    outcome: Outcome
    home: Path
    server: EmbeddedPostgres
    engine: Engine
    simulator: Simulator
    chance: random.Random
    by_hand: int = 0
    halted: str | None = None

    @property
    def market(self) -> Market:
        return self.simulator.market

    # Trading under faults ──────────────────────────────────────────────────────────────────────────────

    def trade(self, orders: int, seconds: float) -> None:
        started = time.monotonic()
        keys = self.simulator.keys
        origin = started - (self.market.clock() - START).total_seconds() / SPEED
        way = Way(str(self.home), self.simulator.url, keys.key_id, keys.secret_key, ACCOUNT, origin)
        self.trade_by_hand()
        self.simulator.faults.requests = 0
        self.simulator.faults.add(*faults())
        with self.workers(way):
            while not self.is_enough(orders) and time.monotonic() - started < seconds:
                self.disturb()
                time.sleep(0.1)
        self.outcome.seconds = time.monotonic() - started
        self.simulator.faults.clear()
        self.outcome.requests = self.simulator.faults.requests
        self.outcome.faults = Counter(self.simulator.faults.injected)
        if self.sent() < orders:
            self.outcome.other.append(f"only {self.sent()} of {orders} orders were sent in {seconds:.0f} s")

    @contextmanager
    def workers(self, way: Way) -> Iterator[None]:
        """Workers are at work inside the block, and none of their processes is left after it."""
        module = "trading_orchestration_tests.faults.worker"
        given = [json.dumps(asdict(way))]
        with ExitStack() as stack:
            started = []
            for number in range(WORKERS):
                errors = stack.enter_context((self.home / f"worker-{number}.err").open("wb"))
                command = [sys.executable, "-m", module, *given, str(number), str(self.outcome.seed)]
                worker = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, cwd=ROOT)
                started.append(stack.enter_context(worker))
            try:
                yield
            finally:
                for worker in started:
                    worker.communicate()
        for number in range(WORKERS):
            self.read_notes(number)

    def read_notes(self, number: int) -> None:
        for line in (self.home / f"worker-{number}.log").read_text().splitlines():
            what, _, name = line.partition(" ")
            if what == "killed":
                self.outcome.kills[name] += 1
            elif what == "problem" and " " not in name:
                self.outcome.problems[name] += 1
            else:
                self.outcome.other.append(f"worker {number}: {line}")
        errors = (self.home / f"worker-{number}.err").read_text()[-2000:]
        if errors.strip():
            self.outcome.other.append(f"worker {number} failed: {errors}")

    def is_enough(self, orders: int) -> bool:
        return self.sent() >= orders and (self.outcome.is_short or not spared(str(self.home)))

    def sent(self) -> int:
        statement = "SELECT count(*) FROM paper.orders WHERE symbol <> :by_hand"
        return int(_rows(self.market.engine, statement, by_hand=BY_HAND)[0]["count"])

    def move_market(self) -> None:
        moved = [BY_HAND, *(symbol for symbol in SYMBOLS if self.chance.random() < 0.3)]
        cents = {symbol: Decimal(self.chance.randint(990_000, 1_010_000)) / 10_000 for symbol in moved}
        self.market.set_prices(cents)

    def trade_by_hand(self) -> None:
        """Somebody buys a little past our books, which position_sync has to find."""
        self.by_hand += 1
        terms = OrderTerms(symbol=BY_HAND, side=Side.BUY, quantity=Decimal("0.01"))
        self.market.submit(f"by-hand-{self.by_hand}", terms)

    def disturb(self) -> None:
        """Prices move; somebody halts a portfolio with an open entry, until it was cancelled, or trades."""
        if not self.halted:
            self.move_market()
        if self.by_hand < BY_HAND_MAX and self.chance.random() < 0.01:
            self.trade_by_hand()
        with suppress(DatabaseUnavailableError):
            self.halt_or_resume()

    def halt_or_resume(self) -> None:
        begin, at = partial(transaction, self.engine), self.market.clock()
        if self.halted:
            if self.chance.random() < 0.05:
                with suppress(InvalidInputError):  # a commit that was lost on its way took effect
                    resume_trading(begin, self.halted, reason="enough", actor=ACTOR, at=at)
                self.halted = None
        elif self.chance.random() < 0.05:
            for row in _rows(
                self.engine,
                "SELECT p.name FROM trades t JOIN portfolios p ON p.id = t.portfolio_id "
                "WHERE t.side = 'buy' AND t.status = 'submitted' ORDER BY t.id DESC LIMIT 1",
            ):
                level, self.halted = HaltLevel.CANCEL_OPEN, row["name"]
                halt_trading(begin, row["name"], level=level, reason="a test", actor=ACTOR, at=at)

    # The end of the day, without faults ────────────────────────────────────────────────────────────────

    def finish(self) -> None:
        self.server.ensure_running()
        time.sleep(LEASE_S)
        way = Way(str(self.home), self.simulator.url, *self._keys())
        jobs = Jobs.of(self.engine, way, self.market.clock, lease_s=0)
        for _ in range(30):
            self.market.set_prices(dict.fromkeys((*SYMBOLS, BY_HAND), PRICE))
            self.drive(jobs)
            if not _rows(self.engine, "SELECT FROM trades WHERE finalized_at IS NULL LIMIT 1"):
                break
        session = CALENDAR.session_at(self.market.clock())
        assert session is not None
        tick = jobs.tick()
        self.market.advance(session.closes_at + timedelta(minutes=5))
        self.drive(jobs)
        self.drive(jobs)
        for _ in range(2):
            self.market.advance(self.market.clock() + timedelta(seconds=10))
            self.note(sync_positions(tick, [jobs.trading(jobs.account)]).problems)
        jobs.broker.close()
        self.compare()

    def _keys(self) -> tuple[str, str, str, float]:
        return self.simulator.keys.key_id, self.simulator.keys.secret_key, ACCOUNT, 0.0

    def drive(self, jobs: Jobs) -> None:
        account = jobs.account
        self.note(check_orders([(jobs.submission(account), jobs.trading(account))]).problems)

    def note(self, problems: list[str]) -> None:
        self.outcome.other += [f"without faults: {problem}" for problem in problems]

    def compare(self) -> None:
        """Our trades with the broker's orders, our books with the broker's."""
        trades = _rows(self.engine, "SELECT * FROM trades ORDER BY id")
        views = self.market.all_orders()
        orders = [view.order for view in views if view.order.terms.symbol != BY_HAND]
        by_name = Counter(order.client_order_id for order in orders)
        names = {trade["client_order_id"] for trade in trades}
        found = self.outcome
        found.orders, found.executions = len(orders), len(self.market.executions())
        found.trades = Counter(trade["status"] for trade in trades)
        found.doubled += [f"order {name} is no trade's" for name in by_name.keys() - names]
        found.doubled += [
            f"order {name} is there {count} times" for name, count in by_name.items() if count > 1
        ]
        for trade in trades:
            count, sent = by_name[trade["client_order_id"]], trade["broker_order_id"] is not None
            may_be_without = trade["status"] in ("cancelled", "rejected", "expired") and not sent
            if count != 1 and not (count == 0 and may_be_without):
                found.lost.append(f"trade {trade['id']} is {trade['status']} and has {count} orders")
            elif count == 1 and not sent:
                found.lost.append(f"trade {trade['id']} is {trade['status']}, and its order is not known")
            if trade["finalized_at"] is None:
                found.lost.append(f"trade {trade['id']} stays {trade['status']}")
        self.compare_books()

    def compare_books(self) -> None:
        found = self.outcome.adrift
        found += check_books(partial(transaction, self.engine))
        ours = _rows(self.engine, "SELECT sum(amount) AS cash FROM cash_balances")[0]["cash"]
        theirs = self.market.account().cash
        if ours != theirs:
            found.append(f"our cash is {ours}, the broker's {theirs}")
        held = _rows(
            self.engine,
            "SELECT symbol, sum(quantity) AS quantity FROM positions GROUP BY 1 HAVING sum(quantity) <> 0",
        )
        mine = {row["symbol"]: row["quantity"] for row in held}
        if mine != (at_broker := {p.symbol: p.quantity for p in self.market.positions()}):
            found.append(f"our positions are {mine}, the broker's {at_broker}")
        found += self.compare_repairs()
        halts = _rows(self.engine, "SELECT actor, reason FROM halts WHERE actor <> :actor", actor=ACTOR)
        self.outcome.other += [f"halted by {row['actor']}: {row['reason']}" for row in halts]

    def compare_repairs(self) -> list[str]:
        """What was traded by hand is repaired, each part of it once, and nothing else is."""
        hand = [e for e in self.market.executions() if e.symbol == BY_HAND]
        self.outcome.by_hand = len(hand)
        (booked,) = _rows(
            self.engine,
            "SELECT coalesce(sum(quantity), 0) AS quantity, coalesce(sum(cash_amount), 0) AS cash, "
            "count(*) FILTER (WHERE symbol <> :symbol) AS strangers FROM adjustments",
            symbol=BY_HAND,
        )
        right = {
            "quantity": sum((e.quantity for e in hand), Decimal(0)),
            "cash": -sum((product(e.quantity, e.price) for e in hand), Decimal(0)),
            "strangers": 0,
        }
        return [] if dict(booked) == right else [f"repairs were {dict(booked)}, due were {right}"]


def _rows(engine: Engine, statement: str, **parameters: object) -> list[sa.RowMapping]:
    with transaction(engine) as connection:
        return list(connection.execute(sa.text(statement), parameters).mappings())


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "none"
