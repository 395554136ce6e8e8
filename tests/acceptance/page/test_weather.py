"""The page in bad weather: a slow line, a reload while messages wait, an upgrade under it."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

import tokenyard
from acceptance.browser import Window
from acceptance.yard import MODEL, Yard

OpenWindow = Callable[..., Window]
FIRST_LOAD_BYTES_MAX = 200_000
WHOLE_BYTES_MAX = 3_000_000
SLOW = {
    "offline": False,
    "latency": 300,
    "downloadThroughput": 40_000,
    "uploadThroughput": 20_000,
}


def test_a_slow_line_only_makes_it_later(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(path="/chat")
    session = window.page.context.new_cdp_session(window.page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", SLOW)
    window.page.reload()
    # Until the models are known there is nobody to send it to.
    window.page.get_by_text(MODEL, exact=True).wait_for()
    window.send("Name one colour.")
    expect(window.page.get_by_text("waiting for the first token")).to_be_visible()
    shown = window.wait_for_text(2)
    window.button("Stop").or_(window.button("Send")).wait_for()
    if window.button("Stop").count():
        window.page.keyboard.press("Escape")
    window.wait_for_end()
    conversation = window.page.url.rsplit("/", 1)[1]
    items = yard.request("GET", f"/v1/conversations/{conversation}/items?order=desc").json()
    assert items["data"][0]["content"][0]["text"].strip().startswith(shown.strip()[:2])


def test_what_waits_is_a_draft_after_a_reload(open_window: OpenWindow) -> None:
    window = open_window(path="/chat")
    window.send("Describe a walk along a river, in detail.")
    window.button("Stop").wait_for()
    window.page.wait_for_url("**/chat/conv_*")
    window.send("And then the sea?")
    expect(window.page.get_by_label("Messages that wait")).to_contain_text("And then the sea?")
    window.page.reload()
    expect(window.draft).to_have_value("And then the sea?")
    window.button("Stop").click()
    window.wait_for_end()


def test_a_stale_tab_loads_the_new_page_and_keeps_the_draft(open_window: OpenWindow) -> None:
    window = open_window(path="/chat")
    page = window.page
    page.clock.install()
    page.reload()
    window.draft.fill("Not sent before the upgrade.")
    page.evaluate("() => { window.__old = true }")

    def upgraded(route: Route) -> None:
        answer = route.fetch()
        html = re.sub(r"/assets/index-[^\"]+\.js", "/assets/index-newer.js", answer.text())
        route.fulfill(response=answer, body=html)

    page.route(re.compile(r"^http://[^/]+/$"), upgraded)
    page.clock.fast_forward(120_000)
    with page.expect_navigation():
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(window.draft).to_have_value("Not sent before the upgrade.")
    assert page.evaluate("() => window.__old") is None


def test_the_first_load_is_small_and_allows_no_foreign_script(yard: Yard) -> None:
    html = yard.request("GET", "/", signed=False)
    policy = html.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    scripts = re.findall(rb'(?:src|href)="(/[^"]+\.js)"', html.body)
    assert scripts
    files = [yard.request("GET", path.decode(), signed=False).body for path in scripts]
    assert sum(len(gzip.compress(body)) for body in files) <= FIRST_LOAD_BYTES_MAX


def test_the_whole_page_is_small() -> None:
    built = Path(tokenyard.__file__).parent / "_web"
    sizes = [path.stat().st_size for path in built.rglob("*") if path.is_file()]
    assert 100_000 < sum(sizes) <= WHOLE_BYTES_MAX
