"""Orders and books over the wire: what Alpaca may do to them, and what a person is told of it."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from trading_orchestration.brokers.alpaca import AlpacaBroker
from trading_orchestration.errors import BrokerNotAuthorizedError
from trading_orchestration.simulator.faults import Fault, FaultKind
from trading_orchestration.vendor_http.alpaca import AlpacaKeys
from trading_orchestration.vendor_http.rate_limit import Unlimited
from trading_orchestration_tests.brokers.paper_world import paper_market
from trading_orchestration_tests.contracts.broker_world import WHOLE_ONLY
from trading_orchestration_tests.services.trading_world import AAPL, MSFT
from trading_orchestration_tests.simulator.alpaca_books import SETTLED, AlpacaBooks
from trading_orchestration_tests.simulator.simulated_world import simulated_world


@pytest.fixture(scope="module")
def market(server_url: str, template: str) -> Iterator[sa.Engine]:
    with paper_market(server_url, template) as engine:
        yield engine


@pytest.fixture
def books(engine: sa.Engine, market: sa.Engine) -> Iterator[AlpacaBooks]:
    with simulated_world(market) as vendor:
        books = AlpacaBooks(engine, vendor)
        for symbol in (AAPL, MSFT):
            books.set_price(symbol, "200")
        yield books


def causes(books: AlpacaBooks) -> list[tuple[str | None, Any, str]]:
    rows = books.rows("SELECT symbol, difference, cause FROM discrepancies ORDER BY id")
    return [(row["symbol"], row["difference"], row["cause"]) for row in rows]


def test_a_day_of_orders_over_the_wire_leaves_the_same_books_on_both_sides(books: AlpacaBooks):
    trade = books.buy(10)
    assert books.status(trade) == ("filled", 10)
    assert books.sync().counts["discrepancies"] == 0
    books.assert_books_agree()


def test_a_fill_that_was_taken_back_is_a_correction_and_names_the_execution(books: AlpacaBooks):
    books.buy(10)
    books.buy(2)
    (_, erroneous) = books.vendor.market.executions()
    books.vendor.market.bust(erroneous.execution_id)
    assert books.sync().counts["repaired"] == 2
    assert causes(books) == [(AAPL, -2, "correction"), (None, 400, "correction")]
    (row, _) = books.rows("SELECT evidence FROM discrepancies")
    assert row["evidence"] == [books.executions()[1]]
    books.assert_books_agree()
    assert books.sync().counts["discrepancies"] == 0


def test_what_explained_one_difference_explains_no_second(books: AlpacaBooks):
    """The list of executions still has the first purchase when the second is made."""
    for quantity in (3, 4):
        books.buy_by_hand(quantity)
        assert books.sync().counts["repaired"] == 2
    assert [cause for _, _, cause in causes(books)] == ["manual_trade"] * 4
    books.advance(SETTLED)
    books.vendor.market.book_cash("CSD", Decimal(7), None)
    books.sync()
    assert causes(books)[-1] == (None, 7, "unknown")
    books.assert_books_agree()


def test_dividends_and_fees_are_called_so(books: AlpacaBooks):
    books.buy(10)
    books.vendor.market.book_cash("DIV", Decimal("2.50"), AAPL)
    books.vendor.market.book_cash("DIVNRA", Decimal("-0.75"), AAPL)
    books.sync()
    books.vendor.market.book_cash("FEE", Decimal("-0.13"), None)
    books.sync()
    assert causes(books) == [(None, Decimal("1.75"), "dividend"), (None, Decimal("-0.13"), "fee")]
    assert any("The cause: dividend" in row["body"] for row in books.rows("SELECT body FROM notifications"))
    books.assert_books_agree()


def test_several_causes_at_once_are_told_by_the_largest(books: AlpacaBooks):
    books.buy_by_hand(1)
    books.vendor.market.book_cash("FEE", Decimal("-0.13"), None)
    books.sync()
    assert causes(books) == [(AAPL, 1, "manual_trade"), (None, Decimal("-200.13"), "manual_trade")]
    (row,) = books.rows("SELECT evidence FROM discrepancies WHERE symbol IS NULL")
    assert len(row["evidence"]) == 2
    books.assert_books_agree()


def test_a_word_nobody_knows_is_told_once_and_stops_nothing(books: AlpacaBooks):
    trade = books.intend(limit="150")
    books.check()
    books.vendor.market.set_word(books.trade(trade)["broker_order_id"], "pondering")
    for _ in range(2):
        assert books.check().problems == []
    told = [title for title in books.titles() if "pondering" in title]
    assert sorted(told) == [
        f"The broker says 'pondering' of trade {trade}",
        "alpaca answered with the status 'pondering' of an order",
    ]
    assert books.status(trade) == ("submitted", 0)


def test_wrong_keys_are_refused_once_name_their_variables_and_settle_nothing(books: AlpacaBooks):
    trade = books.intend(limit="150")
    books.check()
    books.broker = AlpacaBroker(
        keys=AlpacaKeys(SecretStr("PKWRONGWRONG"), SecretStr("wrong-wrong-wrong")),
        is_live=False,
        limiter=Unlimited(),
        now=books.vendor.market.clock,
        base_url=books.vendor.simulator.url,
    )
    books.vendor.simulator.faults.requests = 0
    with pytest.raises(BrokerNotAuthorizedError, match="APCA_API_KEY_ID and APCA_API_SECRET_KEY"):
        books.check()
    assert books.vendor.simulator.faults.requests == 1, "nothing is tried again"
    assert books.status(trade) == ("submitted", 0)


def test_a_symbol_the_broker_does_not_know_ends_its_trade_with_the_brokers_words(books: AlpacaBooks):
    with books.begin() as connection:
        connection.execute(sa.text("INSERT INTO instruments (symbol) VALUES ('NOSUCH')"))
    books.quote("NOSUCH", "10")
    trade = books.intend(symbol="NOSUCH")
    books.check()
    assert books.status(trade) == ("rejected", 0)
    assert "asset" in books.trade(trade)["status_reason"]
    assert "NOSUCH" in books.trade(trade)["status_reason"]


def test_a_fraction_that_the_asset_does_not_allow_is_refused_and_asked_for_no_more(books: AlpacaBooks):
    books.set_price(WHOLE_ONLY, "100")
    trade = books.intend(quantity="1.5", symbol=WHOLE_ONLY)
    books.check()
    assert books.status(trade) == ("rejected", 0)
    assert "not fractionable" in books.trade(trade)["status_reason"]
    (row,) = books.rows("SELECT is_fractionable FROM instruments WHERE symbol = :symbol", symbol=WHOLE_ONLY)
    assert row["is_fractionable"] is False


def test_html_instead_of_an_answer_is_a_sentence_and_changes_nothing(books: AlpacaBooks):
    trade = books.buy(3)
    books.vendor.simulator.faults.add(Fault(FaultKind.HTML, times=None))
    before = books.state()
    (problem,) = books.sync().problems
    assert "text/html" in problem
    assert books.state() == before
    assert books.status(trade) == ("filled", 3)


def test_cash_is_booked_over_http(books: AlpacaBooks):
    url = f"{books.vendor.simulator.url}/simulator/cash"
    assert httpx.post(url, json={"activity_type": "DIV", "amount": "1.25"}).status_code == 200
    assert httpx.post(url, json={"activity_type": "FEE", "amount": "0"}).status_code == 422
    books.sync()
    assert causes(books) == [(None, Decimal("1.25"), "dividend")]
