"""The page's files: built by `make web` into the package, served with a strict policy.

Hashed assets may be kept for ever; the page itself is asked for anew each time, so that an upgrade
is seen at the next load.
"""

import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.types import ASGIApp

from tokenyard.vocabulary.errors import NotFound

_FOLDER = Path(__file__).parent.parent / "_web"
_FOREVER = "public, max-age=31536000, immutable"
_NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tokenyard</title>
<p>The page is not built. Run <code>make web</code> and reload. The API works without it:
see <a href="/docs">/docs</a>.</p></html>"""


class Pages:
    """Serves what the browser loads."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._folder = folder.resolve()

    async def serve(self, request: Request) -> ASGIApp:
        """A file of the page, or the page itself for every path that is a view of it."""
        wanted = request.url.path.lstrip("/")
        if request.method not in ("GET", "HEAD"):
            raise NotFound(f"There is nothing at '/{wanted}'.")
        file = (self._folder / wanted).resolve()
        if wanted and file.is_relative_to(self._folder) and file.is_file():
            kept = _FOREVER if wanted.startswith("assets/") else "no-cache"
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            return FileResponse(file, media_type=kind, headers={"cache-control": kept})
        if "." in wanted.rpartition("/")[2] or wanted.startswith(("v1/", "api/", "assets/")):
            raise NotFound(f"There is nothing at '/{wanted}'.")
        return self._page()

    def _page(self) -> Response:
        index = self._folder / "index.html"
        if not index.is_file():
            return HTMLResponse(_NOT_BUILT, status_code=200)
        return FileResponse(index, media_type="text/html", headers={"cache-control": "no-cache"})
