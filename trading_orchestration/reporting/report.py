"""One portfolio on one page: an HTML file that needs nothing else, for the screen, a phone, paper or a mail.

The same review gives the same file. It loads nothing and runs nothing; its policy forbids both.
"""

import base64
from collections.abc import Mapping, Sequence
from itertools import groupby

from trading_orchestration.reporting import pictures
from trading_orchestration.reporting.html import Markup, element, fragment
from trading_orchestration.reporting.wording import (
    Metric,
    holding_rows,
    metrics_of,
    money,
    percent,
    ratio,
    strategy_rows,
    trip_rows,
)
from trading_orchestration.services.portfolio_review import Performance, Review
from trading_orchestration.store.performance import Close

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_DPI = 144
#: Round trips in the table; `trading export trades` has all.
_TRIPS_MAX = 25
_MONTHS = "Monthly returns"
_WORDS = {"symbol", "strategy", "side", "opened", "closed"}

_STYLE = """
:root { --ink: #24292f; --soft: #6b7280; --line: #e5e7eb; --loss: #b3400a; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 54rem; padding: 2rem 1.25rem 3rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { margin: 2.25rem 0 .6rem; font-size: 1.15rem; }
p { margin: .3rem 0; }
.soft, footer { color: var(--soft); }
.note { border-left: .25rem solid var(--loss); padding: .1rem .8rem; margin: .8rem 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem;
  margin: 1.4rem 0; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.card span { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; }
.wide img { display: block; width: 100%; height: auto; }
.numbers img { min-width: 34rem; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .45rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--soft); font-weight: 600; }
.word { text-align: left; }
.how { text-align: left; color: var(--soft); white-space: normal; font-size: .92em; }
tbody th { text-align: left; color: var(--ink); padding-top: .9rem; }
.loss { color: var(--loss); }
footer { margin-top: 2.5rem; font-size: .85rem; }
@media (max-width: 40rem) {
  body { padding: 1.25rem .9rem 2rem; }
  .figures tr { display: grid; grid-template-columns: 1fr auto; border-bottom: 1px solid var(--line); }
  .figures td { border: 0; }
  .figures .how { grid-column: 1 / -1; padding-top: 0; }
}
@media print {
  @page { margin: 14mm; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  section, .card, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  .wide { overflow: visible; } .numbers img { min-width: 0; } table { font-size: 8pt; }
  .cards { grid-template-columns: repeat(5, 1fr); } .card b { font-size: 12pt; }
  .breaks { break-inside: auto; }
}
"""


def report(review: Review, closes: Mapping[str, Sequence[Close]]) -> str:
    """The page, as one HTML document; `closes` are of the symbols to draw trades on."""
    performance = review.performance
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("title", f"{performance.portfolio}: {_period(performance)}"),
        element("style", Markup(_STYLE)),
    )
    body = element(
        "body",
        element("h1", performance.portfolio),
        element(
            "p",
            f"{_period(performance)}, {performance.sessions:,} sessions, in {performance.currency}",
            klass="soft",
        ),
        *[element("p", note, klass="note") for note in performance.notes],
        _cards(performance),
        *_pictures(review, closes),
        _section("Strategies", _table(strategy_rows(review), empty="There is no strategy.")),
        _section("Figures", _metrics(metrics_of(performance)), klass="breaks"),
        _section("Held at the end", _table(holding_rows(review), empty="Nothing is held.")),
        _section("Round trips", _trips(review), klass="breaks"),
        element(
            "footer",
            element(
                "p",
                "A year has 252 sessions, the risk-free rate is 0, and returns are time-weighted: money "
                "that comes in or goes out is neither gain nor loss. – is not defined.",
            ),
        ),
    )
    return "<!doctype html>\n" + element("html", head, body, lang="en") + "\n"


def _period(performance: Performance) -> str:
    return f"{performance.first_session} to {performance.last_session}"


def _cards(performance: Performance) -> Markup:
    depth = performance.max_drawdown.depth if performance.max_drawdown else None
    shown = [
        ("value", money(performance.end_value)),
        ("total return", percent(performance.total_return)),
        ("a year", percent(performance.annualised_return)),
        ("deepest drawdown", percent(depth)),
        ("Sharpe ratio", ratio(performance.sharpe_ratio)),
    ]
    cards = [
        element("div", _number("b", value), element("span", name), klass="card") for name, value in shown
    ]
    return element("div", *cards, klass="cards")


def _pictures(review: Review, closes: Mapping[str, Sequence[Close]]) -> list[Markup]:
    drawn = [
        ("Equity and drawdown", pictures.equity_and_drawdown(review)),
        (_MONTHS, pictures.monthly_returns(review)),
        ("Allocation", pictures.allocation(review)),
    ]
    if review.fills:
        drawn.append(("Trades", pictures.trades_on_prices(review, closes)))
    return [_section(name, _image(name, pictures.png(figure, dpi=_DPI))) for name, figure in drawn]


def _image(name: str, png: bytes) -> Markup:
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    # A narrow screen shows a curve whole; numbers it must be able to read.
    kind = "wide numbers" if name == _MONTHS else "wide"
    return element("div", element("img", src=source, alt=name), klass=kind)


def _metrics(metrics: Sequence[Metric]) -> Markup:
    rows = []
    for group, of_group in groupby(metrics, key=lambda metric: metric.group):
        rows.append(element("tr", element("th", group, colspan="3")))
        for metric in of_group:
            name = element("td", metric.name, klass="word")
            rows.append(
                element("tr", name, _number("td", metric.value), element("td", metric.formula, klass="how"))
            )
    return element("table", element("tbody", *rows), klass="figures")


def _trips(review: Review) -> Markup:
    table = _table(trip_rows(review, limit=_TRIPS_MAX), empty="There is no round trip.")
    left_out = len(review.trips) - _TRIPS_MAX
    if left_out <= 0:
        return table
    return fragment(table, element("p", f"The newest {_TRIPS_MAX}; {left_out:,} are older.", klass="soft"))


def _table(rows: Sequence[Mapping[str, str]], *, empty: str) -> Markup:
    if not rows:
        return element("p", empty, klass="soft")
    heads = [element("th", name, klass="word" if name in _WORDS else "") for name in rows[0]]
    lines = [element("tr", *[_cell(name, value) for name, value in row.items()]) for row in rows]
    table = element("table", element("thead", element("tr", *heads)), element("tbody", *lines))
    return element("div", table, klass="wide")


def _cell(name: str, value: str) -> Markup:
    return element("td", value, klass="word") if name in _WORDS else _number("td", value)


def _number(tag: str, value: str) -> Markup:
    """A number, in another colour where it is a loss, with a real minus."""
    if value.startswith("-"):
        return element(tag, value.replace("-", "−", 1), klass="loss")
    return element(tag, value)


def _section(title: str, content: Markup, *, klass: str = "") -> Markup:
    heading = element("h2", title)
    return element("section", heading, content, **({"klass": klass} if klass else {}))
