"""Every area of the page on the real process: its main path, both themes, narrow and wide."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from acceptance.browser import Watch, Window, sign_in_address
from acceptance.yard import Yard

AREAS = {
    "Chat": "/chat",
    "Playground": "/playground",
    "Prompts": "/prompts",
    "Jobs": "/jobs",
    "Batches": "/batches",
    "Cluster": "/cluster",
    "Usage": "/usage",
    "Models": "/models",
    "Keys and people": "/people",
}
OpenWindow = Callable[..., Window]
JOB = {
    "name": "harbour",
    "command": ["sh", "-c", "echo rank $RANK; sleep 60"],
    "roles": [{"cpus": 0.1, "memory_mib": 32}],
}


@pytest.fixture(scope="module")
def context(browser: Browser, yard: Yard) -> Iterator[BrowserContext]:
    """One person for all tests of this module, who signs in once."""
    made = browser.new_context(viewport={"width": 1280, "height": 760})
    watch = Watch(yard.url)
    watch.over(made)
    window = Window(made.new_page())
    window.go(sign_in_address(yard))
    window.draft.wait_for()
    yield made
    made.close()
    assert not watch.faults


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Window]:
    """A tab of that person."""
    window = Window(context.new_page())
    yield window
    window.page.close()


def at(window: Window, yard: Yard, path: str) -> Window:
    window.go(f"{yard.url}{path}")
    window.page.locator("#content").wait_for()
    return window


def test_axe_finds_nothing_in_any_area(page: Window, yard: Yard) -> None:
    for path in (*AREAS.values(), "/people/members", "/people/budgets", "/people/audit"):
        at(page, yard, path)
        page.page.wait_for_load_state("networkidle")
        assert page.violations_in_both_themes() == [], path


def test_no_area_is_wider_than_its_window_in_either_direction(page: Window, yard: Yard) -> None:
    for path in AREAS.values():
        at(page, yard, path)
        for width in (360, 768, 2560):
            page.page.set_viewport_size({"width": width, "height": 700})
            assert page.overflow() == 0, f"{path} at {width}"
        page.page.set_viewport_size({"width": 390, "height": 700})
        page.page.evaluate("() => { document.documentElement.dir = 'rtl' }")
        assert page.overflow() == 0, f"{path} from right to left"


def test_the_keyboard_reaches_every_area(page: Window, yard: Yard) -> None:
    at(page, yard, "/jobs")
    page.page.keyboard.press("Control+k")
    page.page.get_by_role("combobox", name="Page or choice").fill("clus")
    page.page.keyboard.press("Enter")
    page.page.wait_for_url("**/cluster")
    page.page.keyboard.press("?")
    expect(page.page.get_by_role("dialog")).to_contain_text("Go to Usage")
    assert page.violations() == []
    page.page.keyboard.press("Escape")
    page.page.keyboard.press("g")
    page.page.keyboard.press("u")
    page.page.wait_for_url("**/usage")


def test_the_page_speaks_three_languages(page: Window, yard: Yard) -> None:
    at(page, yard, "/jobs")
    choice = page.page.locator("nav select").last
    for tag, word in (("de", "Verbrauch"), ("zh-CN", "用量"), ("en", "Usage")):
        choice.select_option(tag)
        expect(page.page.get_by_role("link", name=word, exact=True)).to_be_visible()
        assert page.page.evaluate("() => document.documentElement.lang") == tag


def test_a_job_is_submitted_watched_and_cancelled(page: Window, yard: Yard) -> None:
    at(page, yard, "/jobs")
    page.button("Submit a job").first.click()
    page.page.get_by_label("Name", exact=True).fill("from-the-form")
    page.page.get_by_label("Command").fill("echo hello from the form; sleep 60")
    page.page.get_by_role("dialog").get_by_role("button", name="Submit a job").click()
    page.page.wait_for_url("**/jobs/job_*")
    sheet = page.page.get_by_role("dialog")
    expect(sheet.get_by_role("heading", name="from-the-form")).to_contain_text("running")
    expect(sheet.get_by_role("region", name="Log").last).to_contain_text("hello from the form")
    expect(sheet).to_contain_text("Gang: 1 of 1 members")
    assert page.violations() == []
    page.button("Cancel the job").click()
    expect(sheet.get_by_role("heading", name="from-the-form")).to_contain_text("cancelled")
    page.page.keyboard.press("Escape")
    page.page.get_by_role("link", name="Cancelled", exact=True).click()
    expect(page.page).to_have_url(re.compile(r"show=cancelled"))
    expect(page.page.get_by_role("link", name="from-the-form")).to_be_visible()


def test_a_job_file_is_checked_by_its_lines(page: Window, yard: Yard) -> None:
    at(page, yard, "/jobs")
    page.button("Submit a job").first.click()
    page.page.get_by_text("Job file", exact=True).click()
    field = page.page.get_by_label("Job file (YAML, TOML or JSON)")
    field.fill("name: x\ncommand: [echo]\ngpsu: 1\n")
    expect(page.page.get_by_role("alert")).to_contain_text("gpsu")
    dialog = page.page.get_by_role("dialog")
    submit = dialog.get_by_role("button", name="Submit a job")
    expect(submit).to_be_disabled()
    dialog.get_by_role("button").filter(has_text=re.compile("hello|member", re.I)).first.click()
    expect(submit).to_be_enabled()
    field.fill("")


def test_a_job_that_cannot_run_says_why(page: Window, yard: Yard) -> None:
    made = yard.request("POST", "/api/jobs", {**JOB, "roles": [{"gpus": 64}]}).json()["data"][0]
    at(page, yard, "/jobs?show=waiting&search=harbour")
    row = page.page.get_by_role("row", name=re.compile("harbour"))
    expect(row).to_contain_text("64")
    expect(row).to_contain_text(re.compile("GPU"))
    choice = page.page.locator("nav select").last
    choice.select_option("de")
    expect(row).to_contain_text(
        "Dieser Cluster kann ihn niemals aufnehmen: 0 von 1 Mitgliedern passen"
    )
    choice.select_option("en")
    expect(row).to_contain_text("No part of this cluster")
    yard.request("POST", f"/api/jobs/{made['id']}/cancel")


def test_the_cluster_shows_and_closes_a_node(page: Window, yard: Yard) -> None:
    at(page, yard, "/cluster")
    state = page.page.get_by_label(re.compile("^State of "))
    state.select_option("cordoned")
    expect(page.page.get_by_role("row").nth(1)).to_contain_text("cordoned")
    state.select_option("open")
    expect(page.page.get_by_role("row").nth(1)).to_contain_text("open")


def test_a_batch_of_samples_runs_to_its_end(page: Window, yard: Yard) -> None:
    # Samples are offered where there is no batch yet; other tests of the shared server make some.
    empty = {"object": "list", "data": [], "has_more": False, "first_id": None, "last_id": None}
    page.page.route("**/v1/batches?*", lambda route: route.fulfill(json=empty), times=1)
    at(page, yard, "/batches")
    page.button("Run three sample questions").click()
    page.page.wait_for_url("**/batches/batch_*")
    sheet = page.page.get_by_role("dialog")
    expect(sheet).to_contain_text("3 of 3", timeout=60_000)
    expect(sheet.get_by_role("link", name="Results")).to_be_visible(timeout=30_000)
    assert page.violations() == []


def test_a_prompt_has_versions_and_a_label(page: Window, yard: Yard) -> None:
    at(page, yard, "/prompts")
    page.button("New prompt").first.click()
    page.page.get_by_label("Name", exact=True).fill("Triage")
    page.page.get_by_label("Instructions").fill("Sort tickets for {{product}}.")
    page.button("Store it").click()
    page.page.wait_for_url("**/prompts/pmpt_*")
    page.page.get_by_label("Instructions of version 1").fill("Sort tickets for {{team}}.")
    page.button("Save as a new version").click()
    expect(page.page.get_by_label("Instructions of version 2")).to_be_visible()
    expect(page.page.get_by_role("region", name="From version 1 to 2").last).to_contain_text("team")
    page.button("Make it production").click()
    expect(page.page.get_by_text("· production")).to_be_visible()
    assert page.violations() == []
    page.button("Try it in the Playground").click()
    expect(page.page.get_by_label("System", exact=True)).to_have_value("Sort tickets for {{team}}.")
    page.page.get_by_label("team").fill("harbour")
    page.button("Clear").click()


def test_usage_is_told_by_model_and_by_key(page: Window, yard: Yard) -> None:
    at(page, yard, "/usage?by=model&days=7")
    expect(page.page.get_by_role("row").nth(1)).to_contain_text("smollm2")
    page.page.get_by_text("Key", exact=True).click()
    expect(page.page).to_have_url(re.compile("by=api_key_id"))
    with page.page.expect_download() as download:
        page.page.get_by_role("link", name="Save as CSV").click()
    assert download.value.suggested_filename == "usage.csv"


def test_a_key_is_made_shown_once_and_revoked(page: Window, yard: Yard) -> None:
    at(page, yard, "/people/keys")
    page.button("New key").click()
    page.page.get_by_label("Name", exact=True).fill("harbour key")
    page.button("Make the key").click()
    dialog = page.page.get_by_role("dialog")
    expect(dialog).to_contain_text(re.compile(r"ty-\w{20,}"))
    assert page.violations() == []
    page.button("Close").click()
    row = page.page.get_by_role("row", name=re.compile("harbour key"))
    expect(row).not_to_contain_text(re.compile(r"ty-\w{20,}"))
    row.get_by_role("button", name="Edit").click()
    dialog.get_by_label("Only servers with these tags").fill("eu, gpu")
    dialog.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("only servers with eu, gpu")
    expect(dialog).to_have_count(0)
    row.get_by_role("button", name="Revoke").click()
    expect(row.get_by_role("button", name="Revoke")).to_have_count(0)


def test_a_person_is_invited_and_comes_in_with_a_password(
    page: Window, yard: Yard, open_window: OpenWindow
) -> None:
    at(page, yard, "/people/members")
    page.page.get_by_label("Mail address").fill("ada@harbour.example")
    page.button("Invite").click()
    link = page.page.get_by_role("dialog").get_by_text(re.compile("#invitation="))
    guest = open_window(signed_in=False, url=link.inner_text())
    expect(guest.page.get_by_text("ada@harbour.example")).to_be_visible()
    assert guest.violations() == []
    guest.page.get_by_label("Name", exact=True).fill("Ada")
    invitation = guest.page.locator("form", has_text="invites")
    invitation.get_by_label("Password").fill("a long harbour password")
    guest.button("Accept the invitation").click()
    guest.draft.wait_for()
    at(guest, yard, "/people")
    expect(guest.page.get_by_text("You are Ada, developer")).to_be_visible()


def test_a_budget_is_set_shown_and_taken_back(page: Window, yard: Yard) -> None:
    at(page, yard, "/people/budgets")
    page.page.get_by_label("Stop at").fill("50")
    page.button("Set the budget").click()
    row = page.page.get_by_role("row", name=re.compile(r"\$50\.00"))
    expect(row).to_be_visible()
    at(page, yard, "/usage")
    expect(page.page.get_by_role("meter").first).to_be_visible()
    at(page, yard, "/people/budgets")
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


@contextmanager
def made(yard: Yard, path: str, body: dict[str, object]) -> Iterator[None]:
    """Something of the organisation that holds for one test."""
    found = yard.request("POST", path, body)
    assert found.status == 200, found.body
    yield
    assert yard.request("DELETE", f"{path}/{found.json()['id']}").status == 200


def test_a_limit_is_named_with_a_countdown(page: Window, yard: Yard) -> None:
    at(page, yard, "/playground")
    page.page.get_by_label("Max tokens").fill("4")
    limit = {"level": "user", "measure": "requests", "window": "minute", "amount": 1, "burst": 1}
    with made(yard, "/api/organisation/limits", limit):
        for _ in range(3):
            page.run("Name a colour.")
            page.wait_for_end()
            if page.page.get_by_role("alert").count():
                break
        alert = page.page.get_by_role("alert")
        expect(alert).to_contain_text("The limit of requests per minute is reached.")
        wait = page.page.get_by_text(re.compile(r"^Wait \d+ s\."))
        before = wait.inner_text()
        expect(wait).not_to_have_text(before)
        expect(page.page.get_by_text(re.compile(r"^Request req_"))).to_be_visible()
        expect(page.button("Try again")).to_be_disabled()
    page.button("Clear").click()


def test_a_budget_that_is_reached_is_said_in_words(page: Window, yard: Yard) -> None:
    at(page, yard, "/playground")
    project = yard.request("GET", "/api/organisation/projects").json()["data"][0]["id"]
    budget = {"scope": "project", "subject": project, "hard_nanos": 1}
    with made(yard, "/api/organisation/budgets", budget):
        page.run("Name a colour.")
        expect(page.page.get_by_role("alert")).to_contain_text("The budget is used up.")
    page.button("Clear").click()
