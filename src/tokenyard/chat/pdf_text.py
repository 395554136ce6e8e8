"""A program: reads a PDF from its standard input and writes its text as UTF-8.

Run apart from the server, because a PDF can make any reader take all memory and time. Its limits
are set before anything is read: `python -m tokenyard.chat.pdf_text PAGES MEMORY_BYTES SECONDS`.
Exit status: 0 text was written, 3 it needs a password, 4 it has too many pages, else it is broken.
"""

import resource
import sys
from io import BytesIO

LOCKED = 3
TOO_MANY_PAGES = 4


def main(pages_max: int, memory_bytes: int, seconds: int) -> int:
    """Read, write, and tell how it went."""
    # Not loaded by the server, which only names the statuses.
    from pypdf import PdfReader  # noqa: PLC0415

    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    reader = PdfReader(BytesIO(sys.stdin.buffer.read()))
    if reader.is_encrypted and not reader.decrypt(""):
        return LOCKED
    if len(reader.pages) > pages_max:
        return TOO_MANY_PAGES
    for page in reader.pages:
        text = page.extract_text().strip()
        if text:
            sys.stdout.buffer.write(text.encode("utf-8", "replace") + b"\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(one) for one in sys.argv[1:])))
