"""Replay of the SMA cross on 500 symbols, per 1,000 daily bars, beside backtrader.

Most of what a session costs a replay of one symbol is the same for five hundred. The prices are random walks,
in which about one symbol of twenty crosses a session.
"""

import csv
import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from benchmarks.engines import Cross, installed_engines, left_out
from benchmarks.installation import LIMITS, cross_definition, installation, sessions
from benchmarks.measure import Figure
from benchmarks.replay import replay_s
from trading_orchestration.domain.market_time import Session
from trading_orchestration.domain.strategy import parse_definition
from trading_orchestration.services.bars_import import import_bars
from trading_orchestration.services.portfolio_setup import NewPortfolio, open_portfolio
from trading_orchestration.store import portfolios
from trading_orchestration.store.database import transaction
from trading_orchestration.wiring import Trading

SYMBOLS = tuple(f"S{number:04d}" for number in range(500))
CROSS = Cross(fast=10, slow=20, shares=10)
FIRST, LAST = date(2010, 1, 4), date(2010, 6, 30)
#: Sessions before the first decision, sessions before the first that is measured, and rounds of so many.
WARM_UP, SETTLE, PART, ROUNDS = 21, 20, 20, 3
_BACKTRADER = """
import sys, time
import backtrader as bt, pandas as pd
bars = pd.read_csv(sys.argv[1], parse_dates=["timestamp"], index_col="timestamp")
class Cross(bt.Strategy):
    def __init__(self):
        sma = lambda data, n: bt.ind.SMA(data, period=n)
        self.cross = {data: bt.ind.CrossOver(sma(data, 10), sma(data, 20)) for data in self.datas}
    def next(self):
        for data, cross in self.cross.items():
            if cross[0] > 0:
                self.buy(data, size=10)
            elif cross[0] < 0 and self.getposition(data):
                self.close(data)
cerebro = bt.Cerebro()
cerebro.addstrategy(Cross)
cerebro.broker.setcash(1_000_000)
for symbol, of_symbol in bars.groupby("symbol"):
    columns = of_symbol[["open", "high", "low", "close", "volume"]]
    cerebro.adddata(bt.feeds.PandasData(dataname=columns), name=symbol)
began = time.perf_counter()
cerebro.run()
print((time.perf_counter() - began) / len(bars) * 1000)
"""


def run() -> Iterator[Figure]:
    """The median of three parts of ours, and of three runs of backtrader's over all bars."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "walks.csv"
        with installation() as trading:
            wanted = sessions(trading, FIRST, LAST)[: WARM_UP + SETTLE + PART * ROUNDS]
            _write_walks(path, wanted)
            import_bars(path, begin=trading.begin, calendar=trading.calendar, now=trading.clock())
            per_session = _ours(trading, wanted[WARM_UP:])
        name = f"replay: SMA cross on {len(SYMBOLS)} symbols, all books kept, 1,000 daily bars"
        yield Figure(name, per_session / len(SYMBOLS) * 1_000_000, "ms")
        yield Figure("  a session of them", per_session * 1000, "ms")
        with installed_engines(["backtrader"]) as engines:
            if "backtrader" in engines.missing:
                left_out("backtrader", engines.missing["backtrader"])
                return
            command = [str(engines.python), "-c", _BACKTRADER, str(path)]
            seconds = sorted(float(subprocess.check_output(command)) for _ in range(ROUNDS))
        yield Figure("backtrader: the same cross, 1,000 daily bars", seconds[1] * 1000, "ms")


def _ours(trading: Trading, wanted: Sequence[Session]) -> float:
    limits = replace(
        LIMITS,
        max_position_pct=Decimal(1),
        max_positions=len(SYMBOLS),
        stop_loss_pct=None,
        min_cash_pct=Decimal(0),
    )
    new = NewPortfolio(name="universe", cash=Decimal(1_000_000), limits=limits)
    portfolio_id = open_portfolio(trading.engine, new, at=wanted[0].opens_at - timedelta(hours=1))
    definition = cross_definition(CROSS) | {"universe": list(SYMBOLS)}
    with transaction(trading.engine) as connection:
        portfolios.add_strategy(connection, portfolio_id, parse_definition(definition))
    replay_s(trading, wanted[:SETTLE])
    parts = [wanted[SETTLE + n * PART : SETTLE + (n + 1) * PART] for n in range(ROUNDS)]
    return sorted(replay_s(trading, part) / PART for part in parts)[ROUNDS // 2]


def _write_walks(path: Path, wanted: Sequence[Session]) -> None:
    chance = random.Random(1)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("symbol", "timestamp", "open", "high", "low", "close", "volume"))
        for symbol in SYMBOLS:
            close = 50.0
            for session in wanted:
                opening = close * (1 + chance.gauss(0, 0.005))
                close = opening * (1 + chance.gauss(0.0003, 0.015))
                high, low = max(opening, close) * 1.003, min(opening, close) * 0.997
                shown = (f"{price:.2f}" for price in (opening, high, low, close))
                writer.writerow((symbol, session.date, *shown, 100_000))
