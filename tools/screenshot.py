"""The picture in the README, of the real page: `PYTHONPATH=tests python -m tools.screenshot`.

Starts a whole Tokenyard on a data folder of its own, asks one question in the Playground and takes
the picture when the answer is there. Needs Chromium and the model, as the acceptance tests do.
"""

import os
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from acceptance import yard as yards
from acceptance.browser import Window, sign_in_address
from tokenyard.runtime.settings import home_folder

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "playground.png"
QUESTION = "Why is the sky blue?"
WIDTH, HEIGHT = 1280, 760
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]


def take(yard: yards.Yard, chromium: str) -> None:
    """Sign in, ask, and photograph the answer."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        window = Window(page)
        window.go(sign_in_address(yard))
        window.draft.wait_for()
        page.get_by_label("Temperature", exact=True).fill("0")
        window.run(QUESTION)
        window.wait_for_end()
        PICTURE.parent.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=PICTURE)
        browser.close()


def main() -> None:
    """Start, take, stop."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it, or name it with CHROMIUM=/path.")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(home_folder(os.environ) / "models", home / "models")
        yard = yards.start(home, Path(folder))
        try:
            yard.wait_until_ready()
            take(yard, chromium)
            yard.interrupt()
            yard.wait_for_end()
        finally:
            yard.destroy()


if __name__ == "__main__":
    main()
