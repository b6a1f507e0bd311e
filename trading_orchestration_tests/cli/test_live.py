"""Real money, allowed and revoked by hand."""

from trading_orchestration_tests.cli.command import Trading


def test_real_money_is_allowed_by_typing_the_accounts_number(books: Trading) -> None:
    opened = books(
        "portfolio", "add", "real", "--cash", "1000", "--broker", "alpaca", "--account", "9", "--live"
    )
    assert "It trades nothing until TRADING_LIVE_ACCOUNT is 9" in opened.out
    wrong = books("live", "allow", "8", "--reason", "go")
    assert (wrong.code, "there are: 9" in wrong.err) == (2, True)
    assert books("live", "allow", "9", "--reason", " ").code == 2
    assert "once TRADING_LIVE_ACCOUNT is set" in books("live", "allow", "9", "--reason", "go").out
    again = books("live", "allow", "9", "--reason", "go", "--json")
    assert again.json == {"account_number": "9", "is_new": False, "is_named_in_environment": False}
    assert books("live", "revoke", "9", "--reason", "stop").code == 0
    assert books("live", "revoke", "9", "--reason", "stop").code == 2
    (row,) = books("live", "list", "--json").json
    assert (row["account_number"], row["reason"], row["revoked_reason"]) == ("9", "go", "stop")


def test_the_paper_broker_has_no_real_money(books: Trading) -> None:
    refused = books("portfolio", "add", "real", "--cash", "1000", "--live")
    assert (refused.code, "no real money" in refused.err) == (2, True)
