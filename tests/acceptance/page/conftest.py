"""A browser for the tests of the page, and a signed-in window of it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from acceptance.browser import Watch, Window, sign_in_address
from acceptance.yard import Yard

OpenWindow = Callable[..., Window]
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
# Two cores may be busy with a model and a browser at once.
expect.set_options(timeout=20_000)


# For one module at a time: Playwright's loop must not run while other tests have theirs.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="session")
def signed_in() -> list[Any]:
    """The cookies of the first module's sign-in, for the browsers of all modules."""
    return []


@pytest.fixture(scope="module")
def cookies(browser: Browser, yard: Yard, signed_in: list[Any]) -> list[Any]:
    """What a browser keeps of having signed in; each window begins with it."""
    if not signed_in:
        context = browser.new_context()
        window = Window(context.new_page())
        window.go(sign_in_address(yard))
        window.draft.wait_for()
        signed_in += context.cookies()
        context.close()
    return signed_in


@pytest.fixture
def open_window(browser: Browser, yard: Yard, cookies: Any) -> Iterator[OpenWindow]:
    """Opens windows, each a browser of its own; at the end none of them may have misbehaved."""
    watch = Watch(yard.url)
    contexts = []

    def open_one(
        width: int = 1280,
        height: int = 760,
        *,
        theme: Any = "light",
        touch: bool = False,
        signed_in: bool = True,
        url: str | None = None,
        path: str = "/playground",
    ) -> Window:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=theme,
            has_touch=touch,
            is_mobile=touch,
            reduced_motion="reduce" if touch else "no-preference",
        )
        contexts.append(context)
        watch.over(context)
        window = Window(context.new_page())
        if signed_in:
            # Cookies do not tell ports apart: they hold behind a proxy too.
            context.add_cookies(cookies)
            window.go(f"{url or yard.url}{path}")
        else:
            window.go(url or yard.url)
        return window

    yield open_one
    for context in contexts:
        context.close()
    assert not watch.faults


@pytest.fixture
def window(open_window: OpenWindow) -> Window:
    """One signed-in window in the Playground."""
    return open_window()
