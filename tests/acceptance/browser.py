"""The page in a browser, driven as a person would: by what is seen and by the keyboard."""

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Locator, Page

from acceptance.yard import Yard

ANSWER_MS_MAX = 180_000
AXE_PATH = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
# Every rule of WCAG 2.2 A and AA, and what axe calls good practice.
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def sign_in_address(yard: Yard, url: str | None = None) -> str:
    """A fresh sign-in link, at the address where this yard (or a proxy before it) listens."""
    link = urlsplit(yard.sign_in_link())
    return f"{url or yard.url}{link.path}?{link.query}"


@dataclass
class Window:
    """One tab of the page with the things that tests do again and again."""

    page: Page

    def go(self, address: str) -> None:
        self.page.goto(address)
        # The heading of a page that is still loading is for screen readers only.
        self.page.locator("h1:not(.sr-only)").first.wait_for()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def draft(self) -> Locator:
        """The composer's field, of Playground or Chat."""
        return self.page.get_by_label("Add a message").or_(
            self.page.get_by_label("Write a message")
        )

    def run(self, text: str) -> None:
        """Write into the Playground's composer and run."""
        self.draft.fill(text)
        self.page.keyboard.press("Control+Enter")

    def send(self, text: str) -> None:
        """Write into the Chat's composer and send."""
        self.draft.fill(text)
        self.draft.press("Enter")

    def wait_for_end(self) -> None:
        """Until the answer has ended: the action is Run or Send again."""
        again = self.button("Run").or_(self.button("Send"))
        again.wait_for(timeout=ANSWER_MS_MAX)

    @property
    def reply(self) -> Locator:
        """The newest reply's text."""
        return self.page.locator(".reply").last

    @property
    def meter(self) -> Locator:
        """The line under the newest reply."""
        return self.page.locator("[data-meter]").last

    def wait_for_text(self, characters: int = 1) -> str:
        """Until the newest reply has this many characters."""
        script = "n => [...document.querySelectorAll('.reply')].at(-1)?.textContent.length >= n"
        self.page.wait_for_function(script, arg=characters, timeout=ANSWER_MS_MAX)
        return self.reply.text_content() or ""

    def watch_reply(self) -> Callable[[], list[str]]:
        """Note every text that the newest reply shows, frame by frame; call for the list."""
        self.page.evaluate(
            """() => {
              const seen = (window.__seen = []);
              const look = () => {
                const text = [...document.querySelectorAll('.reply')].at(-1)?.innerText ?? '';
                if (text !== '' && seen.at(-1) !== text) seen.push(text);
                requestAnimationFrame(look);
              };
              look();
            }"""
        )
        return lambda: list(self.page.evaluate("() => window.__seen"))

    def violations_in_both_themes(self) -> list[str]:
        """The same in light, and in dark what a theme can change, without loading anything anew."""
        found = []
        themes: tuple[Literal["light", "dark"], ...] = ("light", "dark")
        for theme, rules in zip(themes, (AXE_RULES, ["color-contrast"]), strict=True):
            self.page.emulate_media(color_scheme=theme)
            self.page.wait_for_function(
                "theme => document.documentElement.dataset.theme === theme", arg=theme
            )
            found += [f"{theme}: {each}" for each in self.violations(rules)]
        return found

    def violations(self, rules: Sequence[str] = AXE_RULES) -> list[str]:
        """What axe finds on the page as it stands, by its rules' names or those of groups."""
        assert AXE_PATH.is_file(), "axe-core is not installed; run: make web"
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate(AXE_PATH.read_text(encoding="utf-8"))
        found: dict[str, Any] = self.page.evaluate(
            "rules => axe.run(document, {runOnly: rules})", [*rules]
        )
        # Behind an open sheet axe may find nothing whose contrast it can be sure of.
        assert found["passes"] or found["incomplete"], "axe has checked nothing"
        return [
            f"{each['id']} at {[node['target'] for node in each['nodes']]}"
            for each in found["violations"]
        ]

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        script = "() => document.documentElement.scrollWidth - window.innerWidth"
        return max(0, int(self.page.evaluate(script)))


@dataclass
class Watch:
    """What no page may do, noted while a test runs."""

    url: str
    faults: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("weberror", lambda error: self.faults.append(f"script error: {error.error}"))
        context.on("console", lambda message: self._said(message.type, message.text))
        context.on("request", lambda request: self._asked(request.url))

    def _said(self, kind: str, text: str) -> None:
        # A refused request is also an error of the console; those are the tests' own doing.
        if kind == "error" and not text.startswith("Failed to load resource"):
            self.faults.append(f"console: {text}")

    def _asked(self, address: str) -> None:
        if urlsplit(address).hostname != urlsplit(self.url).hostname:
            self.faults.append(f"asked another host: {address}")


class CuttingProxy:
    """A proxy on loopback that breaks the connection of each answer after a few bytes.

    It counts what it forwards of every answer to `/v1/responses`, and closes both sockets when the
    next number of `bytes_between_cuts` is reached, until `cuts_max` connections are broken.
    """

    def __init__(self, target: str, cuts_max: int, bytes_between_cuts: Iterator[int]) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._cuts_max = cuts_max
        self._bytes = bytes_between_cuts
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self.cuts = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in [self._listener, *self._sockets]:
            _close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                self._sockets += [client, server]
                allowed: list[int] = []
                threading.Thread(
                    target=self._up, args=(client, server, allowed), daemon=True
                ).start()
                threading.Thread(
                    target=self._down, args=(client, server, allowed), daemon=True
                ).start()

    def _up(self, client: socket.socket, server: socket.socket, allowed: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                head = data.split(b"\r\n", 1)[0]
                streams = head.startswith(b"POST /v1/responses ") or b"stream=true" in head
                with self._lock:
                    # A connection is used again: each request on it decides anew.
                    if head.endswith(b"HTTP/1.1"):
                        cut = streams and self.cuts < self._cuts_max
                        allowed[:] = [next(self._bytes)] if cut else []
                server.sendall(data)
        _close(server)

    def _down(self, client: socket.socket, server: socket.socket, allowed: list[int]) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if allowed and len(data) >= allowed[0]:
                    client.sendall(data[: allowed[0]])
                    with self._lock:
                        self.cuts += 1
                    break
                client.sendall(data)
                if allowed:
                    allowed[0] -= len(data)
        _close(client)
        _close(server)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


def uneven_sizes() -> Iterator[int]:
    """Sizes that end anywhere: in a head, in an event, in the middle of a character."""
    return itertools.cycle([1900, 2750, 2233, 3001, 2521, 4099, 2017])


def wait_for(condition: Callable[[], bool], page: Page, what: str, seconds_max: float = 60) -> None:
    """Poll while the browser goes on; fails with words."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds_max:g} s"
        page.wait_for_timeout(50)
