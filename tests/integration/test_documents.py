"""Files as text, PDFs by the real program: honest ones, and those that mean harm."""

import sys
import zlib
from io import BytesIO
from typing import Any, NoReturn

import pytest
from pypdf import PdfWriter

from tokenyard.chat.documents import Documents
from tokenyard.jobs.executors.bounded import run_bounded
from tokenyard.runtime.chat_settings import ChatSettings
from tokenyard.vocabulary.errors import BodyTooLarge, InvalidRequest
from tokenyard.vocabulary.reasons import Reason

SETTINGS = ChatSettings(
    attachment_bytes_max=400_000,
    attachment_characters_max=2_000,
    pdf_pages_max=3,
    pdf_seconds=20.0,
    pdf_memory_bytes=400 * 1024 * 1024,
)


def pdf(*contents: bytes, compressed: bool = False) -> bytes:
    """A PDF with one page for each content stream."""
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(contents)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(contents)} >>".encode())
    objects.append(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for number, content in enumerate(contents):
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Resources "
            b"<< /Font << /F1 3 0 R >> >> /Contents %d 0 R >>" % (5 + 2 * number)
        )
        stream = zlib.compress(content) if compressed else content
        kind = b"/Filter /FlateDecode " if compressed else b""
        objects.append(b"<< %s/Length %d >>\nstream\n%s\nendstream" % (kind, len(stream), stream))
    out = BytesIO()
    out.write(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.write(b"".join(b"%010d 00000 n \n" % place for place in places))
    out.write(b"trailer << /Size %d /Root 1 0 R >>\n" % (len(objects) + 1))
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return out.getvalue()


def saying(text: str) -> bytes:
    return f"BT /F1 12 Tf 50 700 Td ({text}) Tj ET".encode()


def locked() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    out = BytesIO()
    writer.write(out)
    return out.getvalue()


async def read(data: bytes, settings: ChatSettings = SETTINGS) -> str:
    return (await Documents(run_bounded, settings).read("a.pdf", data)).text


async def test_the_text_of_a_pdf() -> None:
    assert await read(pdf(saying("First page."), saying("Second page."))) == (
        "First page.\n\nSecond page."
    )


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("Zwölf 你好\r\n".encode(), "Zwölf 你好\n"),
        ("\ufeffmarked".encode(), "marked"),
        ("wide ä".encode("utf-16"), "wide ä"),
        (b"# %PDF is only mentioned", "# %PDF is only mentioned"),
    ],
)
async def test_text_files(data: bytes, text: str) -> None:
    assert await read(data) == text


# A stream of 300 MB out of 300 kB.
BOMB = pdf(b" " * 300_000_000, compressed=True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x89PNG\r\n\x1a\n\x00", "neither a PDF nor text"),
        (b"a\x00b", "neither a PDF nor text"),
        (b"  \n", "holds no text"),
        (pdf(b""), "holds no text"),
        (b"x" * 2_001, "more than 2000 characters"),
        (pdf(*[saying("x" * 700)] * 3), "more than 2000 characters"),
        (b"%PDF-1.4 broken", "is broken"),
        (b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 1 0 R >>\nendobj\n%%EOF", "is broken"),
        (pdf(*[saying("x")] * 4), "too many pages"),
        (locked(), "needs a password"),
        (BOMB, "is broken or too complex"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
async def test_what_cannot_be_read_is_said(data: bytes, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why) as refused:
        await read(data)
    assert refused.value.reason is Reason.UNREADABLE_FILE


async def test_a_program_is_given_up_when_it_takes_too_long_or_says_too_much() -> None:
    for code, refusal in (("while True: pass", TimeoutError), ("print('x' * 9_999)", ValueError)):
        with pytest.raises(refusal):
            await run_bounded(
                (sys.executable, "-c", code), b"", seconds_max=1.0, output_bytes_max=999
            )


async def test_a_slow_pdf_is_refused_in_words() -> None:
    async def slow(*_: Any, **__: Any) -> NoReturn:
        raise TimeoutError

    with pytest.raises(InvalidRequest, match="took too long"):
        await Documents(slow, SETTINGS).read("a.pdf", b"%PDF-1.4")


async def test_reading_cannot_take_more_memory_than_it_may() -> None:
    little = ChatSettings(pdf_memory_bytes=1024 * 1024)
    # More than what Python has at hand when it begins.
    long = pdf(b" " * 20_000_000 + saying("x"), compressed=True)
    with pytest.raises(InvalidRequest, match="is broken or too complex"):
        await Documents(run_bounded, little).read("a.pdf", long)


async def test_a_file_that_is_too_long_is_not_looked_at() -> None:
    with pytest.raises(BodyTooLarge):
        await read(b"x" * 400_001)
