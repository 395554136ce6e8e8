"""The Playground: run, watch, stop, change, take the code away."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Route, expect

from acceptance.browser import Window, wait_for
from acceptance.yard import Yard

OpenWindow = Callable[..., Window]
QUESTION = "Explain in two sentences what a token is."


def limit_tokens(window: Window, count: int) -> None:
    window.page.get_by_label("Max tokens").fill(str(count))


def test_an_answer_arrives_in_steps_and_is_metered(window: Window) -> None:
    limit_tokens(window, 64)
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
    limit_tokens(window, 48)
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


def test_a_stopped_answer_goes_on_from_its_last_token(window: Window) -> None:
    window.page.get_by_label("Temperature", exact=True).fill("0")
    limit_tokens(window, 48)
    window.run("Explain in detail how a steam engine works.")
    window.wait_for_end()
    expect(window.meter).to_contain_text("cut at the token limit")
    before = window.reply.text_content() or ""
    window.button("Continue").click()
    expect(window.button("Stop")).to_be_visible()
    window.wait_for_end()
    after = window.reply.text_content() or ""
    assert after.startswith(before)
    assert len(after) > len(before)
    expect(window.page.locator(".reply")).to_have_count(1)


def test_two_columns_answer_one_message(window: Window) -> None:
    limit_tokens(window, 6)
    window.page.get_by_label("Compare").select_option("2")
    columns = [window.page.get_by_label(f"Column {number}") for number in (1, 2)]
    columns[1].get_by_role("button", name="Parameters").click()
    window.page.get_by_role("dialog").get_by_label("Max tokens").fill("3")
    window.button("Close").click()
    window.run(QUESTION)
    for column, tokens in zip(columns, (6, 3), strict=True):
        meter = column.locator("[data-meter]")
        expect(meter).to_contain_text(f"{tokens} out", timeout=60_000)
        expect(column.get_by_label("Text of turn 1")).to_have_value(QUESTION)
    window.wait_for_end()
    assert window.violations() == []
    assert window.overflow() == 0
    window.page.get_by_label("Compare").select_option("1")
    expect(window.page.locator(".reply")).to_have_count(1)


def test_rows_of_a_table_fill_the_variables(window: Window, tmp_path: Path) -> None:
    limit_tokens(window, 4)
    window.draft.fill("Name a {{thing}}.")
    window.button("Rows").click()
    dialog = window.page.get_by_role("dialog")
    dialog.get_by_label("Table as CSV").fill('thing\ncolour\n"river, wide"\n')
    dialog.get_by_role("button", name="Run 2 rows").click()
    save = dialog.get_by_role("button", name="Save as CSV")
    expect(dialog.get_by_role("button", name="Run 2 rows")).to_be_visible(timeout=60_000)
    assert window.violations() == []
    with window.page.expect_download() as download:
        save.click()
    path = tmp_path / "answers.csv"
    download.value.save_as(path)
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert [row["thing"] for row in rows] == ["colour", "river, wide"]
    assert all(row["answer"] and int(row["cost_nanos"]) > 0 for row in rows)


def test_a_script_is_stored_and_knows_when_it_has_changed(window: Window, yard: Yard) -> None:
    window.page.get_by_label("System", exact=True).fill("You sort tickets for {{team}}.")
    window.button("Save").click()
    dialog = window.page.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("Sorting")
    assert window.violations() == []
    dialog.get_by_role("button", name="Save").click()
    head = window.page.locator("header")
    expect(head).to_contain_text("Sorting")
    expect(head).to_contain_text("v1")
    window.page.get_by_label("System", exact=True).fill("You sort tickets.")
    expect(head).to_contain_text("v1 · edited")
    window.button("Save").click()
    dialog.get_by_role("button", name="Save").click()
    expect(head).to_contain_text("v2")
    window.page.reload()
    expect(head).to_contain_text("v2")
    stored = yard.request("GET", "/api/prompts").json()["data"]
    assert [each["newest_version"] for each in stored if each["name"] == "Sorting"] == [2]


def test_json_is_written_with_colours_and_its_wrong_line_is_marked(
    open_window: OpenWindow,
) -> None:
    window = open_window()
    page = window.page
    page.get_by_role("button", name=re.compile("^Tools")).click()
    dialog = page.get_by_role("dialog")
    editor = dialog.get_by_role("textbox", name="Tools")
    editor.fill('[\n  {"type": "function"\n  12\n]')
    fault = dialog.get_by_role("alert")
    expect(fault).to_contain_text("Line 3")
    expect(dialog.locator(".cm-line.fault")).to_have_text("  12")
    expect(dialog.locator(".cm-gutterElement.fault")).to_have_text("3")
    expect(editor).to_have_attribute("aria-invalid", "true")
    colour = "e => getComputedStyle(e).color"
    plain, text = editor, dialog.locator(".cm-line span", has_text='"function"')
    assert text.evaluate(colour) != plain.evaluate(colour)
    assert window.violations_in_both_themes() == []
    # Tab indents, and Escape sets it free: neither traps the keyboard nor closes what is around.
    page.keyboard.press("Control+End")
    page.keyboard.press("Tab")
    expect(dialog.locator(".cm-line").last).to_have_text("  ]")
    page.keyboard.press("Escape")
    expect(editor).to_be_focused()
    page.keyboard.press("Tab")
    expect(editor).not_to_be_focused()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Put in a sample").click()
    expect(fault).to_have_count(0)
    editor.click()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    # What was written is part of the request.
    expect(page.get_by_role("button", name=re.compile(r"^Tools\s*1"))).to_be_visible()


def test_an_editor_on_a_phone_does_not_make_it_zoom(open_window: OpenWindow) -> None:
    window = open_window(390, 780, touch=True)
    window.button("Parameters").tap()
    window.page.get_by_role("button", name=re.compile("^Tools")).tap()
    editor = window.page.get_by_role("textbox", name="Tools")
    assert editor.evaluate("e => parseFloat(getComputedStyle(e).fontSize)") >= 16
    assert window.overflow() == 0
    assert window.violations() == []
