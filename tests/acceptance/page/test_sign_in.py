"""Coming in and going out."""

from collections.abc import Callable

from playwright.sync_api import expect

from acceptance.browser import Window, sign_in_address
from acceptance.yard import Yard

OpenWindow = Callable[..., Window]


def test_a_stranger_is_told_how_to_sign_in(open_window: OpenWindow) -> None:
    window = open_window(signed_in=False)
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(window.page.get_by_text("make up")).to_be_visible()
    window.page.get_by_label("Or paste the link here").fill("not a link")
    window.button("Open").click()
    expect(window.page.get_by_role("alert")).to_contain_text("does not look like")


def test_a_link_works_once(open_window: OpenWindow, yard: Yard) -> None:
    link = sign_in_address(yard)
    first = open_window(signed_in=False)
    first.go(link)
    expect(first.page.get_by_role("heading", name="Playground")).to_be_visible()
    second = open_window(signed_in=False)
    second.go(link)
    expect(second.page.get_by_role("alert")).to_contain_text("used before or has expired")


def test_a_pasted_link_signs_in_and_sign_out_ends_it(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(signed_in=False)
    window.page.get_by_label("Or paste the link here").fill(sign_in_address(yard))
    window.button("Open").click()
    window.draft.wait_for()
    window.draft.fill("a draft of mine")
    window.button("Sign out").click()
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    kept = window.page.evaluate("() => Object.keys(localStorage)")
    assert kept == []
    window.go(yard.url)
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_an_ended_session_asks_for_sign_in_and_keeps_the_draft(window: Window, yard: Yard) -> None:
    window.go(f"{yard.url}/chat")
    window.draft.fill("Not sent yet.")
    window.page.context.clear_cookies()
    window.draft.press("Enter")
    expect(window.page.get_by_role("heading", name="Sign in")).to_be_visible()
    window.go(sign_in_address(yard))
    window.go(f"{yard.url}/chat")
    expect(window.draft).to_have_value("Not sent yet.")
