"""Jobs in a person's hands: what the command changes, refuses, and keeps on record."""

import pytest

from trading_orchestration.cli.installation import actor
from trading_orchestration_tests.cli.command import Trading


@pytest.mark.parametrize(
    ("moves", "status"),
    [
        (["trip"], "error"),
        (["trip", "reset"], "enabled"),
        (["pause"], "disabled"),
        (["pause", "reset"], "disabled"),
        (["pause", "trip"], "disabled"),
        (["pause", "resume"], "enabled"),
        (["resume"], "enabled"),
    ],
)
def test_people_move_a_jobs_breaker(trading: Trading, moves: list[str], status: str) -> None:
    for move in moves:
        answer = trading("jobs", move, "price_update", "--reason", f"because of {move}")
        assert answer.code == 0, answer.err
    assert trading.rows("SELECT job_status FROM scheduled_jobs WHERE job_type = 'price_update'") == [
        (status,)
    ]


def test_a_move_is_on_record_with_who_and_why(trading: Trading) -> None:
    assert trading("jobs", "pause", "price_update", "--reason", "holiday").out == (
        "price_update is disabled; it is skipped until it is resumed.\n"
    )
    (row,) = trading("jobs", "trail", "price_update", "--json").json
    assert (row["old_status"], row["new_status"], row["actor"], row["reason"]) == (
        "enabled",
        "disabled",
        actor(),
        "holiday",
    )


def test_settings_are_changed_all_or_none(trading: Trading) -> None:
    after = trading(
        "jobs", "set", "price_update", "lease_s=300", "stale_after_s=none", "--reason", "slow", "--json"
    )
    assert (after.json["lease_s"], after.json["stale_after_s"]) == (300, None)
    refused = trading("jobs", "set", "price_update", "lease_s=400", "wait_base_s=1000", "--reason", "slow")
    assert refused.error == "wait_base_s was 1000; it must not be above wait_cap_s, which is 900."
    kept = trading.rows("SELECT lease_s, wait_base_s FROM scheduled_jobs WHERE job_type = 'price_update'")
    assert kept == [(300, 300)]


def test_the_trail_tells_of_settings_and_breakers_newest_first(trading: Trading) -> None:
    trading("jobs", "trip", "price_update", "--reason", "odd prices")
    trading("jobs", "set", "price_update", "failure_threshold=5", "--reason", "a flaky vendor")
    lines = trading("jobs", "trail", "price_update").out.splitlines()
    assert "failure_threshold 3 → 5" in lines[1]
    assert lines[1].endswith("a flaky vendor")
    assert "breaker enabled → error" in lines[2]
    assert trading("jobs", "trail", "position_sync").out == "Nothing was changed about position_sync.\n"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("lease_s=0", "lease_s was 0; it must be above 0."),
        ("lease_s=9999999999", "lease_s was 9999999999; it must be at most 1,000,000."),
        ("lease_s=-5", "lease_s was -5; it must be above 0."),
        ("lease_s=none", "lease_s was empty; it needs a number above 0."),
        ("lease_s=soon", "lease_s was 'soon'; it must be a whole number, or none."),
        ("lease_s", "'lease_s' is no setting; give it as name=value, such as lease_s=300."),
        (
            "patience=3",
            (
                "There is no setting 'patience'; there are: failure_threshold, probe_successes, wait_base_s, "
                "wait_cap_s, stale_after_s, lease_s, missed_after_s."
            ),
        ),
    ],
)
def test_a_setting_that_cannot_be_is_refused(trading: Trading, given: str, error: str) -> None:
    assert trading("jobs", "set", "price_update", given, "--reason", "test").error == error
    assert trading.rows("SELECT count(*) FROM job_setting_changes") == [(0,)]


@pytest.mark.parametrize("command", [["trip", "price_update"], ["set", "price_update", "lease_s=300"]])
def test_nothing_is_changed_without_a_reason(trading: Trading, command: list[str]) -> None:
    assert trading("jobs", *command).code != 0
    assert "The reason is empty" in trading("jobs", *command, "--reason", " ").error
