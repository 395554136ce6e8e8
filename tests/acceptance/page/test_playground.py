"""The Playground: run, watch, stop, change, take the code away."""

import re

from playwright.sync_api import Route, expect

from acceptance.browser import Window, wait_for
from acceptance.yard import Yard

QUESTION = "Explain in two sentences what a token is."


def limit_tokens(window: Window, count: int) -> None:
    window.page.get_by_label("Max tokens").fill(str(count))


def test_an_answer_arrives_in_steps_and_is_metered(window: Window) -> None:
    limit_tokens(window, 24)
    seen = window.watch_reply()
    window.run(QUESTION)
    expect(window.button("Stop")).to_be_visible()
    window.wait_for_end()
    steps = seen()
    assert len(steps) >= 5, steps
    assert [len(text) for text in steps] == sorted(len(text) for text in steps)
    expect(window.meter).to_have_text(
        re.compile(r"first token [\d,.]+ m?s · [\d.]+ tok/s · \d+ in.* · \d+ out · \$\d.* · \w+")
    )
    expect(window.page.get_by_text(re.compile(r"^\d[\d,]* of [\d,]+ tokens$"))).to_be_visible()


def test_a_month_counts_what_a_run_cost(window: Window, yard: Yard) -> None:
    def spent() -> int:
        answer = window.page.request.get(f"{yard.url}/api/session")
        return int(answer.json()["month"]["cost_nanos"])

    before = spent()
    limit_tokens(window, 4)
    window.run(QUESTION)
    window.wait_for_end()
    wait_for(lambda: spent() > before, window.page, "the cost is in the ledger")
    expect(window.page.get_by_text("this month")).to_be_visible()


def test_the_same_seed_writes_the_same_text(window: Window) -> None:
    limit_tokens(window, 12)
    window.page.get_by_label("Seed").fill("7")
    window.page.get_by_label("Temperature", exact=True).fill("1")
    window.run(QUESTION)
    window.wait_for_end()
    first = window.reply.text_content()
    # Run without a new message writes the last answer again.
    window.button("Run").click()
    expect(window.button("Stop")).to_be_visible()
    window.wait_for_end()
    assert window.reply.text_content() == first
    expect(window.page.locator(".reply")).to_have_count(1)


def test_stop_keeps_what_was_said_and_a_reload_keeps_the_script(window: Window) -> None:
    window.page.get_by_label("System", exact=True).fill("You are brief.")
    window.page.get_by_label("Temperature", exact=True).fill("0")
    # Prose: a number that a full stop makes the head of a list is no longer text.
    window.run("Explain in detail how a steam engine works.")
    partial = window.wait_for_text(6)
    window.page.keyboard.press("Escape")
    expect(window.button("Run")).to_be_visible()
    expect(window.meter).to_contain_text("stopped by you")
    kept = window.reply.text_content() or ""
    assert kept.startswith(partial[:6])
    window.page.reload()
    window.draft.wait_for()
    assert window.reply.text_content() == kept
    expect(window.page.get_by_label("System", exact=True)).to_have_value("You are brief.")


def test_turns_are_edited_in_place(window: Window) -> None:
    limit_tokens(window, 4)
    window.run("First question.")
    window.wait_for_end()
    window.page.get_by_label("Text of turn 1").fill("Another question.")
    window.page.locator(".reply").hover()
    window.button("Edit turn 2").click()
    window.page.get_by_label("Text of turn 2").fill("An answer by hand.")
    window.button("Done").click()
    expect(window.reply).to_have_text("An answer by hand.")
    expect(window.page.locator("[data-meter]")).to_have_count(0)
    window.page.get_by_label("Text of turn 1").hover()
    window.button("Remove turn 1").click()
    expect(window.page.locator("textarea[aria-label^=Text]")).to_have_count(0)


def test_a_value_out_of_range_is_said_at_its_field(window: Window) -> None:
    window.draft.fill(QUESTION)
    window.page.get_by_label("Temperature", exact=True).fill("9")
    expect(window.page.get_by_role("alert")).to_have_text("Temperature must be from 0 to 2.")
    expect(window.button("Run")).to_be_disabled()
    window.button("Set the defaults again").click()
    expect(window.button("Run")).to_be_enabled()


def test_the_code_names_this_server_and_this_script(window: Window, yard: Yard) -> None:
    window.draft.fill('It\'s "quoted".')
    window.button("Code").click()
    code = window.page.get_by_role("dialog").locator("pre")
    expect(code).to_contain_text(f"curl -N {yard.url}/v1/chat/completions")
    window.page.get_by_label("Python").check()
    expect(code).to_contain_text(f'base_url="{yard.url}/v1"')
    python = code.text_content() or ""
    compile(python, "view code", "exec")
    window.page.get_by_label("JavaScript").check()
    expect(code).to_contain_text(f'baseURL: "{yard.url}/v1"')
    window.page.keyboard.press("Escape")
    expect(window.page.get_by_role("dialog")).to_have_count(0)


def test_a_limit_is_named_counts_down_and_loses_nothing(window: Window) -> None:
    body = {"error": {"message": "60 of 60 used.", "type": "rate_limit_error",
                      "param": None, "code": "rate_limit_requests"}}  # fmt: skip
    headers = {"retry-after": "2", "x-request-id": "req_test"}

    def refuse(route: Route) -> None:
        route.fulfill(status=429, json=body, headers=headers)

    limit_tokens(window, 4)
    window.page.route("**/v1/chat/completions", refuse)
    window.run(QUESTION)
    notice = window.page.get_by_role("alert")
    expect(notice).to_contain_text("The limit of requests per minute is reached. 60 of 60 used.")
    expect(
        window.page.get_by_text("Wait 2 s.").or_(window.page.get_by_text("Wait 1 s."))
    ).to_be_visible()
    expect(window.button("Try again")).to_be_disabled()
    expect(window.page.get_by_text("Request req_test")).to_be_visible()
    expect(window.page.get_by_label("Text of turn 1")).to_have_value(QUESTION)
    window.page.unroute("**/v1/chat/completions")
    expect(window.button("Try again")).to_be_enabled()
    window.button("Try again").click()
    window.wait_for_text(1)
    expect(notice).to_have_count(0)
