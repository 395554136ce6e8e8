"""The pictures of the page: `PYTHONPATH=tests python -m tools.screenshot [--to FOLDER] [PAGE …]`.

Starts a whole Tokenyard on a data folder of its own with eight fake GPUs, gives it conversations,
jobs and a prompt, and photographs every page in light, dark and on a phone; `--language` in another
language. The light one of the Playground is the README's. Needs Chromium and the model, as the
acceptance tests do. Its server ends with it, also when it is told to stop.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from acceptance import yard as yards
from acceptance.browser import Window, sign_in_address
from tokenyard.runtime.settings import home_folder

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
QUESTION = "Why is the sky blue?"
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
SETTINGS = """\
[jobs]
local_execution = "all"
[jobs.node]
gpus = 8
"""
FORMS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 760}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 760}, "color_scheme": "dark"},
    "wide": {"viewport": {"width": 2560, "height": 1300}, "color_scheme": "light"},
    "phone": {
        "viewport": {"width": 390, "height": 780},
        "color_scheme": "light",
        "has_touch": True,
        "is_mobile": True,
    },
}
PAGES = {
    "playground": "/playground",
    "chat": "/chat",
    "jobs": "/jobs",
    "job": "/jobs",
    "submit": "/jobs",
    "batches": "/batches",
    "cluster": "/cluster",
    "prompts": "/prompts",
    "prompt": "/prompts",
    "usage": "/usage",
    "models": "/models",
    "keys": "/people/keys",
    "members": "/people/members",
    "budgets": "/people/budgets",
    "audit": "/people/audit",
    # The last of those who are signed in: its columns stay.
    "compare": "/playground",
    "sign-in": "/",
}
SETTLE_MS = 700


def _role(members: int, gpus: int) -> dict[str, Any]:
    # Little of the machine itself, so that the fake GPUs are what is short.
    return {"replicas": members, "gpus": gpus, "cpus": 0.1, "memory_mib": 32}


def give_work(yard: yards.Yard) -> None:
    """Jobs of every kind of state, and a batch."""
    sleeper = {"command": ["sh", "-c", "echo step 1 of 90; sleep 90"], "type": "training"}
    specs: list[dict[str, Any]] = [
        {"name": "eval-mmlu", "command": ["sh", "-c", "echo done"], "type": "evaluation"},
        {"name": "distil", "command": ["sh", "-c", "echo out of range; exit 3"]},
        {"name": "sft-ledger", "roles": [_role(3, 2)], **sleeper},
        {"name": "pretrain", "roles": [_role(2, 2)], "priority": "high", **sleeper},
        {"name": "embed-docs", "roles": [_role(1, 3)], "priority": "low", **sleeper},
        {"name": "too-large", "roles": [{"gpus": 64}], **sleeper},
    ]
    for spec in specs:
        yard.request("POST", "/api/jobs", spec)
    first = {"instructions": "You sort support tickets. Answer in one sentence."}
    second = {
        "instructions": "You sort support tickets for {{product}}. Answer in one word.",
        "variables": [{"name": "product"}],
    }
    made = yard.request("POST", "/api/prompts", {"name": "Ticket triage", "content": first}).json()
    path = f"/api/prompts/{made['id']}"
    yard.request("POST", f"{path}/versions", {"content": second, "note": "Names the product"})
    yard.request("PUT", f"{path}/labels/production", {"version": 1})


def ask_once(page: Page, yard: yards.Yard) -> None:
    """One answer in the Playground, and one in a chat; both are there when this returns."""
    window = Window(page)
    window.go(sign_in_address(yard))
    window.draft.wait_for()
    page.get_by_label("Temperature", exact=True).fill("0")
    page.get_by_label("Max tokens").fill("220")
    window.run(QUESTION)
    window.wait_for_end()
    short = {"metadata": {"max_output_tokens": "120", "temperature": "0"}}
    made = yard.request("POST", "/v1/conversations", short).json()
    window.go(f"{yard.url}/chat/{made['id']}")
    window.draft.wait_for()
    for question in ("Say hello to the harbour.", QUESTION):
        window.send(question)
        window.wait_for_text(2)
        window.wait_for_end()


def show(page: Page, yard: yards.Yard, name: str) -> None:
    """Go to a page and bring it into the state that its picture shows."""
    page.goto(f"{yard.url}{PAGES[name]}")
    page.locator("h1").first.wait_for()
    if name == "chat":
        latest = yard.request("GET", "/api/conversations?limit=1").json()["data"]
        page.goto(f"{yard.url}/chat/{latest[0]['id']}")
        page.locator("[data-meter]").last.wait_for()
    if name == "job":
        page.get_by_role("link", name="sft-ledger").click()
    if name == "prompt":
        page.get_by_role("link", name="Ticket triage").click()
    if name == "compare":
        page.locator("header select").first.select_option("2")
    if name == "submit":
        page.locator("header button").last.click()
    page.wait_for_timeout(SETTLE_MS)


def take(yard: yards.Yard, browser: Browser, given: argparse.Namespace) -> Iterator[Path]:
    """Every wanted page in every wanted form."""
    names = given.pages or list(PAGES)
    first = browser.new_context(**FORMS["light"])
    ask_once(first.new_page(), yard)
    remember = "tag => localStorage.setItem('tokenyard.language', tag)"
    first.pages[0].evaluate(remember, given.language)
    state = first.storage_state()
    for form in given.forms:
        context = browser.new_context(storage_state=state, locale=given.language, **FORMS[form])
        page = context.new_page()
        for name in (each for each in names if each != "sign-in"):
            yield picture(page, yard, name, given.to / f"{name}-{form}.png")
        context.close()
        if "sign-in" in names:
            stranger = browser.new_context(locale=given.language, **FORMS[form])
            yield picture(stranger.new_page(), yard, "sign-in", given.to / f"sign-in-{form}.png")
            stranger.close()


def picture(page: Page, yard: yards.Yard, name: str, path: Path) -> Path:
    """One page as it is seen."""
    show(page, yard, name)
    page.screenshot(path=path)
    return path


@contextmanager
def started() -> Iterator[yards.Yard]:
    """A yard with work in it."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(home_folder(os.environ) / "models", home / "models")
        (home / "settings.toml").write_text(SETTINGS, encoding="utf-8")
        yard = yards.start(home, Path(folder))
        try:
            yard.wait_until_ready()
            give_work(yard)
            yield yard
            yard.interrupt()
            yard.wait_for_end()
        finally:
            yard.destroy()


def main() -> None:
    """Start, take, stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help=f"of {', '.join(PAGES)}; all of them without")
    parser.add_argument("--to", type=Path, default=IMAGES, help="the folder of the pictures")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=list(FORMS))
    parser.add_argument("--language", choices=("en", "de", "zh-CN"), default="en")
    given = parser.parse_args()
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it, or name it with CHROMIUM=/path.")
    given.to.mkdir(parents=True, exist_ok=True)
    # An end from outside unwinds this program like any other, and with it its server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    with started() as yard, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        taken = list(take(yard, browser, given))
        browser.close()
    if (given.to / "playground-light.png") in taken:
        shutil.copyfile(given.to / "playground-light.png", given.to / "playground.png")


if __name__ == "__main__":
    main()
