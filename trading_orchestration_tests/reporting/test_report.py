"""The page holds everything it shows, nothing that runs, and nothing that was not escaped."""

import re
from dataclasses import replace
from decimal import Decimal
from html.parser import HTMLParser

import pytest

from trading_orchestration.reporting.report import report
from trading_orchestration.services.portfolio_review import Review
from trading_orchestration_tests.fixtures.reviewed import reviewed

MEGABYTE = 1_000_000


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.opened: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag not in ("meta", "img"):
            self.opened.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.opened:
            self.words += f" {data.strip()}"


def made(review: Review | None = None) -> str:
    found, closes = reviewed(30)
    return report(review or found, closes)


@pytest.fixture(scope="module")
def page() -> str:
    """The page of a month of two symbols."""
    return made()


def test_the_same_review_gives_the_same_page(page: str) -> None:
    assert made() == page


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    parsed = Page(page)
    assert parsed.opened == []
    assert parsed.links
    assert all(link.startswith("data:image/png;base64,") for link in parsed.links)
    assert not {"script", "link", "iframe", "object", "form", "a"} & set(parsed.tags)
    assert "default-src 'none'" in page.replace("&#x27;", "'")
    outside_of_pictures = re.sub(r"data:image/png;base64,[^\"]*", "", page)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", outside_of_pictures)


def test_ten_years_of_six_symbols_and_thousands_of_trades_stay_light() -> None:
    review, closes = reviewed(
        2520, symbols=("AAPL", "AMZN", "GOOG", "IBM", "MSFT", "TSLA", "XOM"), fills_a_symbol=601
    )
    heavy = report(review, closes)
    assert len(heavy.encode()) < MEGABYTE / 2
    assert f"The newest 25; {len(review.trips) - 25:,} are older." in Page(heavy).words


def test_names_and_notes_cannot_become_markup() -> None:
    review, _ = reviewed()
    evil = '<script>alert("1")</script>&amp;'
    changed = replace(
        review,
        performance=replace(review.performance, portfolio=evil, currency=evil, notes=[evil]),
        strategies=[replace(of, strategy=evil) for of in review.strategies],
        holdings=[],
    )
    parsed = Page(made(changed))
    assert "script" not in parsed.tags
    assert parsed.words.count(evil) >= 4


def test_every_figure_is_on_the_page(page: str) -> None:
    words = Page(page).words
    for name in ("total return", "Sharpe ratio", "VaR 95 %", "deepest drawdown", "alpha a year", "turnover"):
        assert name in words


def test_what_is_not_defined_is_a_dash() -> None:
    review, closes = reviewed(1, fills_a_symbol=0)
    words = Page(report(review, closes)).words
    assert "Sharpe ratio –" in words
    assert "nan" not in words.lower()
    assert "None" not in words


def test_a_portfolio_that_never_traded_has_a_page_too() -> None:
    review, closes = reviewed(3, symbols=(), fills_a_symbol=0)
    words = Page(report(review, closes)).words
    assert "There is no round trip." in words
    assert "Nothing is held." in words
    assert " Trades " not in words


@pytest.mark.parametrize("returns", [(None, None), (-2,)])
def test_a_portfolio_without_returns_has_a_page_too(returns: tuple[int | None, ...]) -> None:
    review, closes = reviewed(len(returns))
    values = [
        replace(value, daily_return=None if r is None else Decimal(r), total_value=Decimal(-5))
        for value, r in zip(review.values, returns, strict=True)
    ]
    unknown = replace(
        review,
        values=values,
        performance=replace(review.performance, end_value=Decimal(-5), total_return=None),
    )
    assert "total return –" in Page(report(unknown, closes)).words
