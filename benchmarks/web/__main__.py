"""`python -m benchmarks.web`: figures of the page in headless Chromium, as JSON on the last line.

Builds a bench page from the page's sources. The peers' figures come from a study of
2026-11-22 on another machine (same text length and step), so only their order of size compares.
"""

import functools
import gzip
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / ".make" / "web-bench"
PAGE = ROOT / "src" / "tokenyard" / "_web"
RESULTS = ROOT / "benchmarks" / "results" / "web.json"
CHARACTERS, STEP = 12_432, 24
TURNS = 1_000
SCROLL_FRAMES = 240
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--enable-precise-memory-info"]
PEERS = {
    "react-markdown, whole text": {"script_ms_mean": 23.3},
    "react-markdown with highlighting": {"script_ms_mean": 32.1},
    "streamdown": {"script_ms_mean": 3.8},
    "Open WebUI 0.12.4": {"whole_bytes": 239_000_000, "javascript_bytes": 57_000_000},
}


def build() -> None:
    """The bench page, and the page itself where it is not built yet."""
    node = str(ROOT / "tools" / "with-node")
    web = ROOT / "web"
    if not (PAGE / "index.html").is_file():
        subprocess.run([node, "npm", "run", "--silent", "build"], cwd=web, check=True)
    config = ["--config", "dev/bench.config.ts", "--logLevel", "error"]
    subprocess.run([node, "npx", "vite", "build", *config], cwd=web, check=True)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder over HTTP on loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def quantiles(times: list[float]) -> dict[str, float]:
    """Mean, median and p95, in milliseconds."""
    ordered = sorted(times)
    return {
        "mean": round(statistics.fmean(ordered), 2),
        "p50": round(ordered[len(ordered) // 2], 2),
        "p95": round(ordered[int(len(ordered) * 0.95)], 2),
    }


class Meters:
    """What the browser counts of one page; times are those that its thread was at work."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.setTimeDomain", {"timeDomain": "threadTicks"})
        self._session.send("Performance.enable")

    def heap_mb(self) -> float:
        """Megabytes of the page's heap after its garbage is collected."""
        self._session.send("HeapProfiler.collectGarbage")
        return round(self._read()["JSHeapUsedSize"] / 1e6, 1)

    def at_work(self, act: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """What comes of an act, and the milliseconds of layout and of all in it."""
        before = self._read()
        result = act()
        after = self._read()
        names = {"layout": "LayoutDuration", "all": "TaskDuration"}
        return result, {word: 1000 * (after[name] - before[name]) for word, name in names.items()}

    def _read(self) -> dict[str, float]:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: float(each["value"]) for each in metrics}


def first_load() -> dict[str, int]:
    """Bytes of gzipped JavaScript that the first paint of the page needs, and of all its files."""
    html = (PAGE / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r'(?:src|href)="/([^"]+\.js)"', html)
    packed = sum(len(gzip.compress((PAGE / name).read_bytes())) for name in scripts)
    whole = sum(path.stat().st_size for path in PAGE.rglob("*") if path.is_file())
    return {"javascript_gzip_bytes": packed, "whole_bytes": whole}


def measure(page: Page) -> dict[str, Any]:
    """All figures of one browser."""
    meters = Meters(page)
    page.evaluate("bench.stream(2000, 24)")
    updates, work = meters.at_work(
        lambda: page.evaluate("([n, step]) => bench.stream(n, step)", [CHARACTERS, STEP])
    )
    page.evaluate("bench.thread(2)")
    empty = meters.heap_mb()
    return {
        "characters": CHARACTERS,
        "characters_drawn": updates["drawn"],
        "updates": len(updates["script"]),
        "script_ms": quantiles(updates["script"]),
        "script_ms_at_the_end": quantiles(updates["script"][-50:]),
        "script_and_layout_ms": quantiles(updates["layout"]),
        "cpu_ms_per_update": per(len(updates["script"]), work),
        "turns": TURNS,
        "heap_mb_two_turns": empty,
        "long_thread": thread(page, meters, None),
        "long_thread_drawn_whole": thread(page, meters, TURNS),
    }


def per(count: int, work: dict[str, float]) -> dict[str, float]:
    """The work of each of so many."""
    return {word: round(spent / count, 2) for word, spent in work.items()}


def thread(page: Page, meters: Meters, whole_max: int | None) -> dict[str, Any]:
    """A long thread: opened at its end, and scrolled to its top."""
    opened = meters.at_work(
        lambda: page.evaluate(
            "([n, most]) => bench.thread(n, most ?? undefined)", [TURNS, whole_max]
        )
    )[1]
    at_end = {"heap_mb": meters.heap_mb(), "elements": page.evaluate("bench.elements()")}
    frames, work = meters.at_work(lambda: page.evaluate("n => bench.scroll(n)", SCROLL_FRAMES))
    at_top = {"heap_mb": meters.heap_mb(), "elements": page.evaluate("bench.elements()")}
    return {
        "open_cpu_ms": round(opened["all"]),
        "at_its_end": at_end,
        "scroll_cpu_ms_per_frame": per(SCROLL_FRAMES, work),
        "scroll_frame_ms": quantiles(frames),
        "scrolled_through": at_top,
    }


def main() -> None:
    """Build, measure, print."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise SystemExit("There is no Chromium. Install it, or name it with CHROMIUM=/path.")
    build()
    with served(BUILT) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 760})
        page.goto(f"{url}/bench.html")
        page.wait_for_function("window.bench !== undefined")
        ours = measure(page)
        browser.close()
    ours["first_load"] = first_load()
    result: dict[str, Any] = {"ours": ours, "peers": PEERS}
    result["load_average"] = os.getloadavg()
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
