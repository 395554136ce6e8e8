"""Files on the disk: whole or not there; lines come out as they went in, however they are cut."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.yards import at_once
from tokenyard.jobs.batches import folder as module
from tokenyard.jobs.batches.folder import FileFolder, Place, RawLine
from tokenyard.vocabulary.errors import InternalFailure, Unavailable
from tokenyard.vocabulary.ids import FileId

FILE = FileId("file_1")


def make_folder(path: Path) -> FileFolder:
    return FileFolder(path / "files", beside=at_once)


async def write(folder: FileFolder, data: bytes, file: FileId = FILE) -> None:
    writing = folder.write(file)
    await writing.write(data)
    await writing.finish()


async def read_all(folder: FileFolder, line_bytes_max: int = 1000) -> list[RawLine]:
    found: list[RawLine] = []
    place: Place | None = Place()
    while place is not None:
        lines, place = await folder.read_lines(FILE, place, line_bytes_max=line_bytes_max)
        found += lines
    return found


async def test_a_file_has_no_name_before_it_is_whole(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    writing = folder.write(FILE)
    await writing.write(b"x" * (module.PORTION_BYTES + 1))
    assert not await folder.has(FILE)
    await writing.finish()
    await writing.drop()
    assert folder.path_of(FILE).read_bytes() == b"x" * (module.PORTION_BYTES + 1)
    assert [path.name for path in (tmp_path / "files").iterdir()] == [FILE]
    await folder.remove(FILE)
    await folder.remove(FILE)
    assert not await folder.has(FILE)


async def test_what_is_dropped_or_unknown_goes_and_the_rest_stays(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    writing = folder.write(FileId("file_2"))
    await writing.write(b"y" * (module.PORTION_BYTES + 1))
    assert (tmp_path / "files" / "file_2.part").exists()
    await writing.drop()
    assert list((tmp_path / "files").iterdir()) == []
    await write(folder, b"kept")
    await write(folder, b"lost", FileId("file_3"))
    (tmp_path / "files" / "file_4.part").write_bytes(b"half")
    assert await make_folder(tmp_path).sweep({FILE, FileId("file_9")}) == 2
    assert [path.name for path in (tmp_path / "files").iterdir()] == [FILE]


async def test_an_empty_file_is_a_file(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    await write(folder, b"")
    assert folder.path_of(FILE).read_bytes() == b""
    assert await read_all(folder) == []


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "file_é", "x\0"])
def test_ids_never_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(InternalFailure):
        make_folder(tmp_path).path_of(FileId(name))


async def test_a_disk_that_refuses_is_said_in_words(tmp_path: Path) -> None:
    folder = make_folder(tmp_path)
    (tmp_path / "files" / f"{FILE}.part").mkdir()
    writing = folder.write(FILE)
    await writing.write(b"x")
    with pytest.raises(Unavailable, match="disk"):
        await writing.finish()


async def test_bytes_that_are_gone_are_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await make_folder(tmp_path).read_lines(FILE, Place(), line_bytes_max=10)


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\nb\n", [(1, b"a\n"), (2, b"b\n")]),
        (b"a\r\n\r\n \nb", [(1, b"a\r\n"), (4, b"b")]),
        (b"\xef\xbb\xbfa\n\xef\xbb\xbfb", [(1, b"a\n"), (2, b"\xef\xbb\xbfb")]),
        (b"12345678\n1234567890\nx", [(1, b"12345678\n"), (2, None), (3, b"x")]),
        (b"12345678\r\n123456789", [(1, b"12345678\r\n"), (2, None)]),
    ],
)
async def test_lines_are_numbered_and_bounded(
    tmp_path: Path, data: bytes, lines: list[tuple[int, bytes | None]]
) -> None:
    folder = make_folder(tmp_path)
    await write(folder, data)
    found = await read_all(folder, line_bytes_max=8)
    assert [(line.number, line.data) for line in found] == lines


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"\n", b" ")), max_size=30),
    st.integers(1, 10),
    st.integers(1, 40),
)
def test_portions_do_not_change_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[bytes], longest: int, portion: int
) -> None:
    """However small the portions are, lines are those of the whole file, split at its newlines."""
    folder = make_folder(tmp_path_factory.mktemp("portions"))
    data = b"\n".join(written)

    async def run() -> list[RawLine]:
        await write(folder, data)
        return await read_all(folder, longest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PORTION_BYTES", portion)
        found = asyncio.run(run())
    expected = [
        RawLine(number, line if len(line.rstrip(b"\r\n")) <= longest else None)
        for number, line in enumerate(data.split(b"\n"), start=1)
        if len(line.rstrip(b"\r\n")) > longest or line.strip()
    ]
    shown = [RawLine(line.number, line.data and line.data.rstrip(b"\n")) for line in found]
    assert shown == [
        RawLine(line.number, line.data and line.data.removeprefix(b"\xef\xbb\xbf"))
        if line.number == 1
        else line
        for line in expected
    ]
