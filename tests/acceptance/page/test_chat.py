"""Chat: the answer belongs to the server, and every tab shows the same one."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from acceptance.browser import (
    CuttingProxy,
    Window,
    sign_in_address,
    uneven_sizes,
    wait_for,
)
from acceptance.yard import Yard

OpenWindow = Callable[..., Window]
LONG = "Describe a walk along a river from its source to the sea, in detail."


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    """One signed-in window in the Chat."""
    return open_window(path="/chat")


def open_chat(window: Window, yard: Yard) -> Window:
    if window.page.url != f"{yard.url}/chat":
        window.go(f"{yard.url}/chat")
    window.draft.wait_for()
    return window


def stored_answer(window: Window, yard: Yard) -> dict[str, Any]:
    """The newest assistant item of the conversation that the window shows, as the API has it."""
    conversation = window.page.url.rsplit("/", 1)[1]
    items = yard.request("GET", f"/v1/conversations/{conversation}/items?order=desc").json()
    answer: dict[str, Any] = items["data"][0]
    assert answer["role"] == "assistant"
    return answer


def words(text: str) -> list[str]:
    """The words of a text, whatever marks were drawn or not drawn around them."""
    return re.findall(r"[^\W_]+", text)


def stored_words(window: Window, yard: Yard) -> list[str]:
    """The words of the stored answer; the number of a list's entry is drawn, but is not text."""
    text: str = stored_answer(window, yard)["content"][0]["text"]
    return words(re.sub(r"^\s*\d+[.)] ", "", text, flags=re.MULTILINE))


def assert_shows_what_is_stored(window: Window, yard: Yard) -> None:
    assert words(window.reply.inner_text()) == stored_words(window, yard)


def stop(window: Window) -> None:
    window.button("Stop").click()
    window.wait_for_end()


def test_a_question_opens_a_conversation_with_its_first_words(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    seen = window.watch_reply()
    window.send("Say hello to the harbour.")
    window.page.wait_for_url("**/chat/conv_*")
    expect(window.page.get_by_role("heading", name="Say hello to the harbour.")).to_be_visible()
    window.wait_for_text(4)
    stop_if_long(window)
    assert len(seen()) >= 2
    expect(window.meter).to_contain_text(" out · $")
    entry = window.page.locator("aside a", has_text="Say hello to the harbour.").first
    expect(entry).to_have_attribute("aria-current", "page")
    window.page.reload()
    window.reply.wait_for()
    assert_shows_what_is_stored(window, yard)
    # What was live before the reload is stored: how fast it came, what it took, what it cost.
    expect(window.meter).to_contain_text(re.compile(r"first token [\d.,]+ m?s · .* out · \$"))
    expect(window.meter).to_contain_text(" tok/s")
    expect(window.page.get_by_text(re.compile(r"^\$0\.\d+ so far$"))).to_be_visible()


def stop_if_long(window: Window) -> None:
    """End an answer that is already long enough for the test."""
    if window.button("Stop").count():
        # The answer may end by itself at this very moment, and the button with it.
        with suppress(PlaywrightTimeout):
            window.button("Stop").click(timeout=2_000)
    window.wait_for_end()


def test_stop_keeps_the_partial_answer_for_ever(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    window.send(LONG)
    partial = window.wait_for_text(12)
    stop(window)
    expect(window.meter).to_contain_text("stopped by you")
    assert (window.reply.text_content() or "").startswith(partial[:12])
    assert stored_answer(window, yard)["status"] == "incomplete"
    window.page.reload()
    window.reply.wait_for()
    assert_shows_what_is_stored(window, yard)
    expect(window.meter).to_contain_text("stopped by you")


def test_stop_works_before_the_first_token(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    window.send(LONG)
    # Escape means Stop from the moment that Stop is shown, which is before the first token.
    window.button("Stop").wait_for()
    window.page.keyboard.press("Escape")
    window.wait_for_end()
    expect(window.page.locator("article[aria-label=User]")).to_have_count(1)
    window.send("Say hello.")
    window.wait_for_text(2)
    stop_if_long(window)


def test_a_reload_in_the_middle_shows_the_same_answer_growing(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    window.send(LONG)
    before = window.wait_for_text(20)
    window.page.reload()
    # It goes on from where it is, not from the beginning.
    after = window.wait_for_text(len(before))
    assert after.startswith(before[:20])
    seen = window.watch_reply()
    window.wait_for_text(len(after) + 20)
    assert len(seen()) >= 2
    expect(window.page.locator("article[aria-label=User]")).to_have_count(1)
    expect(window.page.locator("article[aria-label=Assistant]")).to_have_count(1)
    stop(window)
    assert_shows_what_is_stored(window, yard)


def test_a_closed_tab_does_not_stop_the_answer(window: Window, yard: Yard) -> None:
    short = {"metadata": {"max_output_tokens": "48", "temperature": "0"}}
    made = yard.request("POST", "/v1/conversations", short).json()
    window.go(f"{yard.url}/chat/{made['id']}")
    window.send("Name the four seasons.")
    window.wait_for_text(2)
    address = window.page.url
    context = window.page.context
    window.page.close()
    other = Window(context.new_page())
    path = f"/v1/conversations/{address.rsplit('/', 1)[1]}"
    wait_for(
        lambda: yard.request("GET", path).json().get("active_response_id") is None,
        other.page, "the answer ends by itself", 180,
    )  # fmt: skip
    other.go(address)
    other.reply.wait_for()
    assert_shows_what_is_stored(other, yard)
    assert len(words(other.reply.inner_text())) > 4


def test_a_second_tab_shows_the_answer_of_the_first(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    window.send(LONG)
    window.wait_for_text(10)
    other = Window(window.page.context.new_page())
    other.go(window.page.url)
    other.wait_for_text(20)
    # Either tab can stop it; both see it.
    stop(other)
    assert_shows_what_is_stored(other, yard)
    # A tab in the background is not drawn.
    window.page.bring_to_front()
    window.wait_for_end()
    assert_shows_what_is_stored(window, yard)
    # A new question in one tab appears in the other without being asked for.
    window.send("And then?")
    other.page.bring_to_front()
    expect(other.page.get_by_text("And then?")).to_be_visible()
    expect(other.button("Stop")).to_be_visible()
    stop(other)


def test_a_conversation_is_deleted_after_a_question(window: Window, yard: Yard) -> None:
    open_chat(window, yard)
    window.send("A conversation to delete.")
    window.wait_for_text(1)
    stop_if_long(window)
    window.page.locator("aside li").first.hover()
    window.button("Edit A conversation to delete.").click()
    dialog = window.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Delete this conversation?").click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    window.page.wait_for_url("**/chat")
    expect(window.page.get_by_text("A conversation to delete.")).to_have_count(0)


def test_a_thread_that_is_not_there_says_so(window: Window, yard: Yard) -> None:
    window.go(f"{yard.url}/chat/conv_of_somebody_else")
    expect(window.page.get_by_text("does not exist, or it is not yours")).to_be_visible()


CUTS = 20


@pytest.fixture
def proxy(yard: Yard) -> Iterator[CuttingProxy]:
    made = CuttingProxy(yard.url, CUTS, uneven_sizes())
    yield made
    made.close()


def test_twenty_cuts_leave_the_answer_whole(
    open_window: OpenWindow, yard: Yard, proxy: CuttingProxy
) -> None:
    window = open_window(url=proxy.url)
    window.go(f"{proxy.url}/chat")
    window.draft.wait_for()
    seen = window.watch_reply()
    window.send(LONG)
    wait_for(lambda: proxy.cuts >= CUTS, window.page, f"{CUTS} cuts", 180)
    window.wait_for_text(10)
    if window.button("Stop").count():
        stop(window)
    assert proxy.cuts == CUTS
    assert_shows_what_is_stored(window, yard)
    # What was shown on the way only ever grew: nothing was lost, doubled or taken back.
    stored = " ".join(stored_words(window, yard))
    for text in seen():
        shown = words(text)[:-1]
        assert stored.startswith(" ".join(shown))


def test_an_answer_goes_on_where_its_killed_server_left_it(
    browser: Browser, make_yard: Callable[..., Yard]
) -> None:
    first = make_yard()
    port = urlsplit(first.url).port
    window = Window(browser.new_context().new_page())
    window.go(sign_in_address(first))
    open_chat(window, first)
    seen = window.watch_reply()
    window.send(LONG)
    before = window.wait_for_text(12)
    first.destroy()
    expect(window.page.get_by_text("Connection lost, trying again")).to_be_visible()
    second = make_yard(port=port)
    window.wait_for_text(len(words(before)) + 40)
    expect(window.page.get_by_text("Connection lost, trying again")).to_have_count(0)
    if window.button("Stop").count():
        stop(window)
    assert_shows_what_is_stored(window, second)
    # What was seen before the death was not taken back and not said twice.
    stored = " ".join(stored_words(window, second))
    for text in seen():
        assert stored.startswith(" ".join(words(text)[:-1]))
    window.page.context.close()
