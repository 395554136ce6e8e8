"""Chat as a tree: other words, other answers, and the way between them; a message that waits."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

from acceptance.browser import Window, wait_for
from acceptance.yard import MODEL, Yard


def start(window: Window, yard: Yard, *, tokens: int = 12) -> None:
    """A conversation whose answers are at most so many tokens long."""
    metadata = {"max_output_tokens": str(tokens), "temperature": "0"}
    made = yard.request("POST", "/v1/conversations", {"metadata": metadata}).json()
    window.go(f"{yard.url}/chat/{made['id']}")
    window.draft.wait_for()


def turn(window: Window, place: int) -> Locator:
    return window.page.locator("article").nth(place)


def wait_for_turns(window: Window, count: int) -> None:
    expect(window.page.locator("article")).to_have_count(count)
    window.wait_for_end()


def test_a_question_in_other_words_is_a_branch_and_both_are_walked(
    window: Window, yard: Yard
) -> None:
    start(window, yard)
    window.send("Name a river.")
    wait_for_turns(window, 2)
    turn(window, 0).hover()
    turn(window, 0).get_by_role("button", name="Edit").click()
    window.page.get_by_label("Your message in other words").fill("Name a fruit.")
    window.button("Ask again").click()
    expect(turn(window, 0)).to_contain_text("Name a fruit.")
    wait_for_turns(window, 2)
    expect(turn(window, 0)).to_contain_text("2 of 2")
    turn(window, 0).get_by_label("Branch before this one").click()
    expect(turn(window, 0)).to_contain_text("Name a river.")
    window.page.reload()
    expect(turn(window, 0)).to_contain_text("Name a river.")
    expect(turn(window, 0)).to_contain_text("1 of 2")


def test_another_answer_stands_beside_the_first(window: Window, yard: Yard) -> None:
    start(window, yard)
    window.send("Name a colour.")
    wait_for_turns(window, 2)
    turn(window, 1).hover()
    window.button("Another answer").click()
    expect(turn(window, 1)).to_contain_text("2 of 2")
    wait_for_turns(window, 2)


def test_a_cut_answer_goes_on(window: Window, yard: Yard) -> None:
    start(window, yard)
    window.send("Describe a walk along a river, in detail.")
    wait_for_turns(window, 2)
    before = window.reply.inner_text()
    expect(window.meter).to_contain_text("cut at the token limit")
    turn(window, 1).hover()
    window.button("Continue").click()
    wait_for_turns(window, 3)
    said = " ".join(window.page.locator(".reply").all_inner_texts())
    assert said.startswith(before)
    assert len(said) > len(before)


def test_a_message_waits_for_the_answer_before_it(window: Window, yard: Yard) -> None:
    # Long enough that the next message is written before its end.
    start(window, yard, tokens=150)
    window.send("Describe a walk along a river, in detail.")
    window.button("Stop").wait_for()
    window.send("Name a fruit.")
    expect(window.page.get_by_label("Messages that wait")).to_contain_text("Name a fruit.")
    wait_for_turns(window, 4)
    expect(turn(window, 2)).to_contain_text("Name a fruit.")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_conversation_is_named_filed_and_deleted(window: Window, yard: Yard, theme: str) -> None:
    window.page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    start(window, yard)
    window.button("Organise").click()
    window.page.get_by_role("textbox", name="Title").fill("Harbours")
    window.page.get_by_role("combobox", name="Folder").fill("Travel")
    assert window.violations() == []
    window.button("Save").click()
    expect(window.page.get_by_role("heading", name="Harbours")).to_be_visible()
    expect(window.page.locator("aside").get_by_role("heading", name="Travel")).to_be_visible()
    window.button("Settings").click()
    window.page.get_by_label("Instructions").fill("Answer in one word.")
    assert window.violations() == []
    window.button("Save").click()
    window.button("Organise").click()
    window.button("Delete this conversation?").click()
    window.button("Delete").click()
    window.page.wait_for_url("**/chat")
    expect(window.page.get_by_text("Travel")).to_have_count(0)


def test_a_file_goes_with_a_message(window: Window, yard: Yard) -> None:
    start(window, yard)
    window.page.get_by_label("Attach").first.set_input_files(
        {"name": "note.txt", "mimeType": "text/plain", "buffer": b"The harbour is blue."}
    )
    expect(window.page.get_by_label("Files of the next message")).to_have_text("note.txtRemove")
    window.send("What colour is the harbour?")
    wait_for_turns(window, 2)
    window.page.reload()
    expect(turn(window, 0)).to_contain_text("note.txt")


def test_a_conversation_is_found_shared_and_unshared(
    window: Window, yard: Yard, open_window: Callable[..., Window]
) -> None:
    start(window, yard)
    window.send("Where does the quicksilver ferry land?")
    wait_for_turns(window, 2)
    window.page.get_by_role("searchbox", name="Search conversations").fill("quicksilver")
    hits = window.page.get_by_label("What was found")
    expect(hits).to_contain_text("quicksilver")
    hits.get_by_role("link").first.click()
    window.button("Organise").click()
    window.button("Make a read-only link").click()
    link = window.page.get_by_text(re.compile("/shared#")).inner_text()
    assert window.violations() == []
    stranger = open_window(signed_in=False, url=link)
    expect(stranger.page.locator("article").first).to_contain_text("quicksilver")
    assert stranger.violations() == []
    window.button("End it").click()
    expect(window.button("End it")).to_have_count(0)
    stranger.page.reload()
    expect(stranger.page.get_by_role("alert")).to_be_visible()


def test_the_context_is_told_part_by_part(window: Window, yard: Yard) -> None:
    start(window, yard)
    window.send("Name a colour.")
    wait_for_turns(window, 2)
    window.page.get_by_title("What fills the context").click()
    dialog = window.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Room for the answer")
    expect(dialog).to_contain_text("Messages so far")
    assert window.violations() == []


def test_a_call_of_a_function_is_shown_with_its_arguments(window: Window, yard: Yard) -> None:
    place = {"type": "object", "properties": {"place": {"enum": ["sea"]}}, "required": ["place"]}
    conversation = yard.request("POST", "/v1/conversations", {}).json()["id"]
    asked = {
        "model": MODEL,
        "conversation": conversation,
        "input": "How is the weather at the sea?",
        "tools": [{"type": "function", "name": "get_weather", "parameters": place}],
        "tool_choice": "required",
        "max_output_tokens": 60,
        "temperature": 0,
    }
    answered = yard.request("POST", "/v1/responses", asked, timeout=180)
    assert answered.status == 200, answered.body
    window.go(f"{yard.url}/chat/{conversation}")
    # It may call more than once.
    call = window.page.get_by_role("group", name="Call of get_weather").first
    expect(call).to_contain_text('"place": "sea"')
    assert window.violations() == []


MESSAGES = 1_000
# Without leaving out what is far, a thread of this length has some twenty-five thousand.
ELEMENTS_MAX = 6_000


def imported_thread(yard: Yard, messages: int) -> str:
    """A conversation of so many messages, as ChatGPT exports one."""
    mapping = {
        f"m{place}": {
            "id": f"m{place}",
            "parent": f"m{place - 1}" if place else None,
            "children": [f"m{place + 1}"] if place + 1 < messages else [],
            "message": {
                "id": f"m{place}",
                "author": {"role": "assistant" if place % 2 else "user"},
                "content": {"content_type": "text", "parts": [f"Message {place}.\n\n- one\n- two"]},
                "create_time": 1_700_000_000.0 + place,
            },
        }
        for place in range(messages)
    }
    file = [{"title": "Long", "current_node": f"m{messages - 1}", "mapping": mapping}]
    made = yard.request("POST", "/api/import", file)
    assert made.status == 200, made.body
    return str(made.json()["conversation_ids"][0])


def test_a_thread_of_a_thousand_messages_is_walked_to_its_top(
    open_window: Callable[..., Window], yard: Yard
) -> None:
    conversation = imported_thread(yard, MESSAGES)
    window = open_window(path=f"/chat/{conversation}")
    page = window.page
    expect(page.get_by_text(f"Message {MESSAGES - 1}.")).to_be_in_viewport()
    # Older messages come by themselves, before the reader is there.
    scroller = page.get_by_label("Thread")
    page.evaluate("() => { window.__most = 0 }")
    most = """scroller => {
      const count = document.getElementsByTagName('*').length;
      window.__most = Math.max(window.__most, count);
      scroller.scrollTop = 0;
      scroller.dispatchEvent(new WheelEvent('wheel'));
      return document.body.innerText.includes('Message 0.');
    }"""
    wait_for(lambda: bool(scroller.evaluate(most)), page, "the first message", 60)
    expect(page.get_by_text("Message 0.")).to_be_visible()
    assert page.evaluate("() => window.__most") < ELEMENTS_MAX
    yard.request("DELETE", f"/v1/conversations/{conversation}")
