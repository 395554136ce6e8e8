"""Everyone can use it: axe in both themes, keyboard alone, small and large windows."""

from collections.abc import Callable

from playwright.sync_api import expect

from acceptance.browser import Window
from acceptance.yard import Yard

OpenWindow = Callable[..., Window]


def test_axe_finds_nothing_in_the_playground(open_window: OpenWindow) -> None:
    window = open_window()
    assert window.violations_in_both_themes() == []
    window.page.get_by_label("Max tokens").fill("8")
    window.run("Say hello.")
    window.wait_for_end()
    assert window.violations_in_both_themes() == []
    window.button("Code").click()
    assert window.violations_in_both_themes() == []
    window.page.keyboard.press("Escape")
    window.page.get_by_label("Temperature", exact=True).fill("9")
    assert window.violations_in_both_themes() == []


def test_axe_finds_nothing_in_the_chat(open_window: OpenWindow) -> None:
    window = open_window(path="/chat")
    window.draft.wait_for()
    assert window.violations_in_both_themes() == []
    window.send("Name one colour.")
    window.wait_for_text(1)
    assert window.violations_in_both_themes() == []
    window.page.keyboard.press("Escape")
    window.wait_for_end()
    assert window.violations_in_both_themes() == []
    window.page.locator("aside li").first.hover()
    window.page.locator("aside li button").first.click()
    assert window.violations_in_both_themes() == []


def test_axe_finds_nothing_at_the_door(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(signed_in=False, url=f"{yard.url}/?sign_in=invalid")
    assert window.violations_in_both_themes() == []


def test_axe_finds_nothing_on_a_phone(open_window: OpenWindow) -> None:
    window = open_window(390, 780, touch=True)
    assert window.violations_in_both_themes() == []
    for name in ("Parameters", "Menu"):
        window.button(name).tap()
        assert window.violations_in_both_themes() == []
        window.button("Close").tap()


def test_no_window_is_too_narrow_or_too_wide(window: Window, yard: Yard) -> None:
    for path in ("/playground", "/chat"):
        window.go(f"{yard.url}{path}")
        window.draft.wait_for()
        for width in (360, 390, 768, 1023, 1024, 1280, 1920, 2560):
            window.page.set_viewport_size({"width": width, "height": 700})
            assert window.overflow() == 0, f"{path} at {width}"
            expect(window.button("Run").or_(window.button("Send"))).to_be_in_viewport()


def test_a_phone_has_large_fields_and_sheets(open_window: OpenWindow, yard: Yard) -> None:
    window = open_window(390, 780, touch=True)
    size = "e => parseFloat(getComputedStyle(e).fontSize)"
    assert window.draft.evaluate(size) >= 16
    window.button("Parameters").tap()
    field = window.page.get_by_role("dialog").get_by_label("Temperature", exact=True)
    assert field.evaluate(size) >= 16
    window.button("Close").tap()
    window.button("Menu").tap()
    window.page.get_by_role("dialog").get_by_role("link", name="Chat", exact=True).tap()
    window.page.wait_for_url("**/chat")
    expect(window.page.get_by_role("dialog")).to_have_count(0)
    window.button("Conversations").tap()
    expect(window.page.get_by_role("dialog")).to_contain_text("New chat")


def test_the_keyboard_is_enough(window: Window) -> None:
    page = window.page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    reached = []
    name = """() => {
      const focused = document.activeElement;
      return focused.getAttribute('aria-label') ?? focused.textContent;
    }"""
    for _ in range(40):
        reached.append(page.evaluate(name))
        if "Add a message" in reached:
            break
        page.keyboard.press("Tab")
    assert {"Code", "Script", "System", "Add a message"} <= set(reached)
    # Long enough that it can be stopped.
    page.keyboard.type("Describe a walk along a river, in detail.")
    page.keyboard.press("Control+Enter")
    expect(window.button("Stop")).to_be_visible()
    page.keyboard.press("Escape")
    expect(window.button("Run")).to_be_visible()
    # The focus has stayed where the person writes.
    expect(window.draft).to_be_focused()


def test_a_dialog_gives_the_focus_back(window: Window) -> None:
    window.button("Code").focus()
    window.page.keyboard.press("Enter")
    expect(window.page.get_by_role("dialog")).to_be_visible()
    window.page.keyboard.press("Escape")
    expect(window.button("Code")).to_be_focused()


def test_an_answer_is_announced_politely(window: Window) -> None:
    window.page.get_by_label("Max tokens").fill("6")
    status = window.page.locator("[role=status]").first
    window.run("Say hello.")
    expect(status).to_have_text("Answering")
    window.wait_for_end()
    expect(status).to_contain_text("Answer done")
    assert window.page.locator("[aria-live=assertive]").count() == 0


def test_a_chosen_theme_outlives_a_reload_without_a_flash(window: Window) -> None:
    window.page.get_by_label("Theme").select_option("dark")
    background = "() => getComputedStyle(document.documentElement).backgroundColor"
    dark = window.page.evaluate(background)
    window.page.reload(wait_until="commit")
    window.page.wait_for_function("() => document.body !== null")
    assert window.page.evaluate(background) == dark
    window.draft.wait_for()
    window.page.get_by_label("Theme").select_option("light")
    assert window.page.evaluate(background) != dark
