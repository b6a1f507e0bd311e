"""Back-testing engines that others wrote, in an environment of their own that is thrown away.

They are no dependency of ours, and nothing of them is shipped: a script of a few lines for each is run by the
environment's Python and answers in JSON. An engine that cannot be installed, or does not run, is left out;
the reason is told.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INSTALL_TIMEOUT_S = 600
_RUN_TIMEOUT_S = 300
_READ = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
path, (fast, slow, shares, closes_out) = sys.argv[1], map(int, sys.argv[2:6])
costs = float(sys.argv[6])
bars = pd.read_csv(path, parse_dates=["timestamp"], index_col="timestamp")
bars = bars[["open", "high", "low", "close", "volume"]]
def answer(seconds, equity, closed=0, still_open=0, drawdown=0.0):
    figures = {"equity": float(equity), "closed": int(closed), "open": int(still_open)}
    print(json.dumps({"seconds": seconds, "bars": len(bars), "drawdown_pct": float(drawdown), **figures}))
"""
_BACKTESTING = """
from backtesting import Backtest, Strategy
from backtesting.lib import crossover
bars.columns = ["Open", "High", "Low", "Close", "Volume"]
average = lambda values, n: pd.Series(values).rolling(n).mean()
class Cross(Strategy):
    def init(self):
        self.fast, self.slow = self.I(average, self.data.Close, fast), self.I(average, self.data.Close, slow)
    def next(self):
        if crossover(self.fast, self.slow):
            if shares:
                self.buy(size=shares)
            else:
                self.position.close(); self.buy()
        elif crossover(self.slow, self.fast):
            self.position.close()
            if not shares:
                self.sell()
test = Backtest(bars, Cross, cash=10_000, commission=costs, finalize_trades=bool(closes_out))
began = time.perf_counter()
done = test.run()
answer(time.perf_counter() - began, done["Equity Final [$]"], done["# Trades"], len(done._strategy.trades),
       done["Max. Drawdown [%]"])
"""
#: At `next_open` the indicators stand at the close before, and the size is known from the price it fills at.
_BACKTRADER = """
import backtrader as bt
class Cross(bt.Strategy):
    def __init__(self):
        self.cross = bt.ind.CrossOver(bt.ind.SMA(period=fast), bt.ind.SMA(period=slow))
    def next_open(self):
        way, price, held = self.cross[0], self.data.open[0], self.position.size
        if shares and way > 0:
            self.buy(size=shares)
        elif shares and way < 0 and held:
            self.close()
        elif not shares and way in (1, -1):
            cash = self.broker.getcash() + held * price - abs(held) * price * costs
            self.close()
            (self.buy if way > 0 else self.sell)(size=cash // (price * (1 + costs)))
cerebro = bt.Cerebro(cheat_on_open=True)
cerebro.addstrategy(Cross)
cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
cerebro.addanalyzer(bt.analyzers.DrawDown, _name="drawdown")
cerebro.broker.set_coo(True)
cerebro.broker.setcash(10_000)
cerebro.broker.setcommission(costs)
cerebro.adddata(bt.feeds.PandasData(dataname=bars))
began = time.perf_counter()
done = cerebro.run()[0]
seconds = time.perf_counter() - began
total = done.analyzers.trades.get_analysis().total
answer(seconds, cerebro.broker.getvalue(), total.closed, total.open,
       -done.analyzers.drawdown.get_analysis().max.drawdown)
"""
#: A signal of a close is moved to the next bar, whose open it is filled at. The first run compiles.
_VECTORBT = """
import numpy as np, vectorbt as vbt
above = vbt.MA.run(bars.close, fast).ma > vbt.MA.run(bars.close, slow).ma
known = bars.close.rolling(slow).mean().notna()
up = (above & ~above.shift(1, fill_value=False) & known.shift(1, fill_value=False)).shift(1, fill_value=False)
down = (~above & above.shift(1, fill_value=False)).shift(1, fill_value=False)
how = {"price": bars.open, "init_cash": 10_000, "fees": costs, "size_granularity": 1}
def run():
    if shares:
        return vbt.Portfolio.from_signals(bars.close, entries=up, exits=down, size=shares, **how)
    return vbt.Portfolio.from_signals(bars.close, entries=up, short_entries=down, size=np.inf,
                                      upon_opposite_entry="reverse", **how)
run().final_value()
began = time.perf_counter()
done = run()
equity = done.final_value()
seconds = time.perf_counter() - began
answer(seconds, equity, done.trades.closed.count(), done.trades.open.count(), done.max_drawdown() * 100)
"""
_ZIPLINE = """
import os, tempfile
os.environ["ZIPLINE_ROOT"] = tempfile.mkdtemp()
from zipline import run_algorithm
from zipline.api import order, order_target, symbol, set_commission, set_slippage
from zipline.data.bundles import ingest, register
from zipline.data.bundles.csvdir import csvdir_equities
from zipline.finance import commission, slippage
folder = tempfile.mkdtemp()
os.makedirs(f"{folder}/daily")
data = bars.copy()
data.index.name = "date"
data["dividend"], data["split"] = 0.0, 1.0
data.to_csv(f"{folder}/daily/GOOG.csv")
register("bench", csvdir_equities(["daily"], folder), calendar_name="XNYS")
ingest("bench", show_progress=False)
def initialize(context):
    context.held, context.before = symbol("GOOG"), None
    set_commission(commission.PerShare(cost=0.0, min_trade_cost=0.0))
    set_slippage(slippage.FixedSlippage(spread=0.0))
def handle_data(context, data):
    closes = data.history(context.held, "close", slow, "1d")
    if closes.isna().any():
        return
    is_above = closes.tail(fast).mean() > closes.mean()
    if context.before is not None and is_above is not context.before:
        order_target(context.held, shares if is_above else 0)
    context.before = is_above
began = time.perf_counter()
done = run_algorithm(start=bars.index[slow], end=bars.index[-1], initialize=initialize,
                     handle_data=handle_data, capital_base=10_000, data_frequency="daily", bundle="bench")
answer(time.perf_counter() - began, done["portfolio_value"].iloc[-1])
"""
#: Engine → the package to install and what it runs. Zipline fills at the next close: it is only timed.
ENGINES = {
    "backtesting.py": ("backtesting", _BACKTESTING),
    "backtrader": ("backtrader", _BACKTRADER),
    "vectorbt": ("vectorbt", _VECTORBT),
    "zipline-reloaded": ("zipline-reloaded", _ZIPLINE),
}


@dataclass(frozen=True, slots=True)
class Cross:
    """The strategy: an SMA cross on GOOG; `shares` of 0 trades both ways with all of the money."""

    fast: int
    slow: int
    shares: int

    @property
    def name(self) -> str:
        """Its portfolio's and its strategy's name."""
        return f"cross-{self.fast}-{self.slow}-{self.shares}"


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines that could be installed, and why others could not."""

    python: Path
    missing: dict[str, str]

    def bundled_goog(self) -> Path | None:
        """The daily bars of GOOG that backtesting.py ships for its own tests, where it is installed."""
        found = self.python.parent.parent.glob("lib/python*/site-packages/backtesting/test/GOOG.csv")
        return next(found, None)

    def run(
        self, engine: str, bars: Path, cross: Cross, *, commission: float = 0.0, closes_out: bool = False
    ) -> dict[str, Any] | str:
        """What an engine answers (seconds, bars, equity, drawdown_pct, closed, open), or why it does not.

        `commission` is a fraction of the value; `closes_out` only backtesting.py knows.
        """
        if engine in self.missing:
            return self.missing[engine]
        arguments = [bars, cross.fast, cross.slow, cross.shares, int(closes_out), commission]
        command = [str(self.python), "-c", _READ + ENGINES[engine][1], *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_RUN_TIMEOUT_S, check=True)
        except subprocess.CalledProcessError as error:
            return f"it failed: {(error.stderr.strip().splitlines() or ['without a word'])[-1]}"
        except subprocess.TimeoutExpired:
            return f"it took more than {_RUN_TIMEOUT_S} s"
        answered: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return answered


@contextmanager
def installed_engines(names: Iterable[str] = ENGINES) -> Iterator[Engines]:
    """The engines of these names, in an environment that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        missing = {
            engine: reason
            for engine in names
            if (reason := _why_not_installed(python, ENGINES[engine][0])) is not None
        }
        yield Engines(python, missing)


def _why_not_installed(python: Path, package: str) -> str | None:
    command = [str(python), "-m", "pip", "install", "--quiet", "--prefer-binary", package, "pandas"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"pip took more than {_INSTALL_TIMEOUT_S} s"
    if done.returncode:
        return f"pip says: {(done.stderr.strip().splitlines() or ['nothing'])[-1]}"
    return None


def left_out(engine: str, reason: str) -> None:
    """Say that an engine takes no part, and why."""
    print(f"{engine} is left out: {reason}", file=sys.stderr)
