"""The Dagster UI, as a person uses it, in headless Chromium on a system that is up."""

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from dagster._core.scheduler.instigation import ScheduleInstigatorData
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from trading_orchestration.definitions import defs
from trading_orchestration.domain.job import JobType
from trading_orchestration.wiring import system_clock
from trading_orchestration_tests.acceptance.conftest import TRADING, Demo, RunningSystem, opened_instance
from trading_orchestration_tests.chaos.live_system import LiveSystem, Role

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, BROWSERS) if path), None)
NEEDED = os.environ.get("TRADING_TESTS_NEED_BROWSER") == "1"
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_MS = 60_000
#: In market hours the tick is young, and refused for the breaker's sake.
SKIPPED = re.compile(r"runs at most 30 s late|opened it by hand: to be seen in the UI")
MIRRORED_S = 120

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("acceptance"),
    pytest.mark.skipif(
        CHROMIUM is None and not NEEDED,
        reason="no Chromium on the path; on Debian: apt-get install chromium",
    ),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "TRADING_TESTS_NEED_BROWSER=1, and there is no Chromium on the path."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, system: RunningSystem) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1440, "height": 950}, base_url=system.url)
    context.set_default_timeout(PAGE_MS)
    expect.set_options(timeout=PAGE_MS)
    yield context.new_page()
    context.close()


def test_it_shows_six_schedules_switched_off_and_switches_one_on(page: Page, demo: Demo) -> None:
    """The switch reaches `scheduled_jobs`, through the sensor."""
    page.goto("/automation")
    for job_type in JobType:
        row = page.get_by_text(f"{job_type}_schedule", exact=True)
        expect(row.first).to_be_visible()
    switch = _switch_of(page, "price_update_schedule")
    expect(switch).not_to_be_checked()
    switch.locator("xpath=..").click()
    expect(switch).to_be_checked()
    assert _eventually_scheduled(demo, JobType.PRICE_UPDATE)
    switch.locator("xpath=..").click()
    expect(switch).not_to_be_checked()


def test_a_skip_tells_its_reason_and_a_run_by_hand_closes_the_breaker(page: Page, demo: Demo) -> None:
    """Switched on a week ago, while no daemon ran: the newest tick is looked at when one does."""
    job, reason = JobType.ORDER_STATUS_CHECK, ("--reason", "to be seen in the UI")
    _trading(demo, "jobs", "set", job, "probe_successes=1", *reason)
    _trading(demo, "jobs", "trip", job, *reason)
    page.goto(f"/locations/trading_orchestration/schedules/{job}_schedule")
    switch = page.locator("label[class*=formatSwitch]").first
    switch.click()
    expect(switch.locator("input")).to_be_checked()
    _was_on_for_a_week(demo, f"{job}_schedule")
    assert LiveSystem(demo.home, demo.environment).kill(Role.DAEMON) == 1
    page.locator("a, button").filter(has_text="0 runs requested").last.click()
    expect(page.get_by_text(SKIPPED).first).to_be_visible()

    page.goto(f"/locations/trading_orchestration/jobs/{job}/playground")
    page.get_by_role("button", name="Launch Run").click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}"))
    expect(page.get_by_text(f"the breaker of {job} is closed").first).to_be_visible()
    assert _job(demo, job)["job_status"] == "enabled"

    page.goto(f"/locations/trading_orchestration/schedules/{job}_schedule")
    switch.click()
    expect(switch.locator("input")).not_to_be_checked()


def test_a_run_can_be_found_by_its_session_and_opened(page: Page) -> None:
    page.goto("/runs?q[0]=tag%3Atrading%2Fsession%3D2012-11-23")
    expect(page.get_by_text("trading/session: 2012-11-23").first).to_be_visible()
    page.locator("a[href^='/runs/']").filter(has_text=re.compile(r"^[0-9a-f]{8}$")).first.click()
    expect(page).to_have_url(re.compile(r"/runs/[0-9a-f-]{36}"))
    expect(page.get_by_text("Success").first).to_be_visible()


def test_the_snapshots_show_their_totals_and_the_equity_plot(page: Page) -> None:
    page.goto("/assets/portfolio_snapshots")
    expect(page.get_by_text("growth").first).to_be_visible()
    page.get_by_text("Show Markdown").first.click()
    image = page.locator("img[src^='data:image/png;base64,']")
    expect(image.first).to_be_visible()


def _switch_of(page: Page, schedule: str) -> Locator:
    """A row's switch stands after its link, once the switches of all schedules and sensors are there."""
    switches = len(list(defs.schedules or ())) + len(list(defs.sensors or ()))
    expect(page.locator("label[class*=formatSwitch]")).to_have_count(switches)
    link = page.locator(f"a[href$='/schedules/{schedule}']").first
    return link.locator("xpath=following::label[contains(@class, 'formatSwitch')][1]/input")


def _was_on_for_a_week(demo: Demo, schedule: str) -> None:
    """Let Dagster believe that nobody looked at a schedule since it was switched on."""
    with opened_instance(demo) as instance:
        (state,) = (s for s in instance.all_instigator_state() if s.instigator_name == schedule)
        since = (system_clock() - timedelta(days=7)).timestamp()
        assert isinstance(state.instigator_data, ScheduleInstigatorData)
        data = state.instigator_data._replace(start_timestamp=since, last_iteration_timestamp=since)
        instance.update_instigator_state(state.with_data(data))


def _eventually_scheduled(demo: Demo, job: JobType) -> bool:
    deadline = time.monotonic() + MIRRORED_S
    while time.monotonic() < deadline:
        if _job(demo, job)["is_scheduled"]:
            return True
        time.sleep(1)
    return False


def _job(demo: Demo, job: JobType) -> dict[str, Any]:
    rows = json.loads(_trading(demo, "jobs", "--json"))
    return next(row for row in rows if row["job_type"] == job)


def _trading(demo: Demo, *arguments: str) -> str:
    answer = subprocess.run(
        [TRADING, *arguments], env=demo.environment, capture_output=True, text=True, check=True
    )
    return answer.stdout
