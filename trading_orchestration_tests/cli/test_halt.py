"""Stopping trading by hand, and going on."""

from datetime import datetime

from trading_orchestration.cli.installation import actor
from trading_orchestration_tests.cli.command import Trading


def test_a_halt_says_who_why_and_since_when(books: Trading) -> None:
    halted = books("halt", "growth", "--reason", "looking", "--json").json
    assert (halted["portfolio"], halted["level"], halted["reason"]) == ("growth", "no_new", "looking")
    assert (halted["actor"], halted["was_halted"]) == (actor(), False)
    assert datetime.fromisoformat(halted["halted_at"]).utcoffset() is not None


def test_a_second_halt_leaves_the_first_as_it_is(books: Trading) -> None:
    books("halt", "--reason", "first")
    again = books("halt", "--reason", "second")
    assert again.code == 0
    assert "Trading was halted already for all portfolios: no_new" in again.out
    assert books.rows("SELECT reason FROM halts") == [("first",)]


def test_a_halt_is_made_stricter_and_never_laxer(books: Trading) -> None:
    books("halt", "growth", "--reason", "first")
    assert "(flatten)" in books("halt", "growth", "--reason", "worse", "--level", "flatten").out
    books("halt", "growth", "--reason", "milder", "--level", "cancel_open")
    assert books.rows("SELECT level, reason FROM halts WHERE resumed_at IS NULL") == [("flatten", "worse")]
    assert books.rows("SELECT resumed_reason FROM halts WHERE resumed_at IS NOT NULL") == [
        ("Made stricter, flatten: worse",)
    ]


def test_resume_ends_its_own_halt_and_tells_of_the_others(books: Trading) -> None:
    books("halt", "--reason", "storm")
    books("halt", "growth", "--reason", "looking")
    done = books("resume", "growth", "--reason", "fine")
    assert "The halt of portfolio growth has ended." in done.out
    assert "Still halted: all portfolios (no_new): storm" in done.out
    assert books("portfolio", "show", "growth", "--json").json["is_halted"] is True
    assert books("resume", "--reason", "over", "--json").json == {"resumed": None, "halts_in_force": []}
    assert books.rows("SELECT severity, title, body FROM notifications ORDER BY id") == [
        ("critical", f"{actor()} halted trading of all portfolios (no_new)", "storm"),
        ("critical", f"{actor()} halted trading of portfolio growth (no_new)", "looking"),
        ("info", f"{actor()} resumed trading of portfolio growth", "fine"),
        ("info", f"{actor()} resumed trading of all portfolios", "over"),
    ]
    assert books.rows("SELECT DISTINCT resumed_by FROM halts") == [(actor(),)]
