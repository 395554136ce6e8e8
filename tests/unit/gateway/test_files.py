"""The Files API through the whole gateway: forms cut anywhere, limits, pages, content."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.batches import BOUNDARY, form, upload
from support.spec import validator
from support.yards import FakeYard, open_fake_yard
from tokenyard.gateway.uploads import FIELD_BYTES_MAX, _Reading
from tokenyard.runtime.settings import FileSettings, Settings

PATH = "/v1/files"
TYPE = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}


async def test_a_file_comes_back_byte_for_byte(yard: FakeYard) -> None:
    data = bytes(range(256)) * 3000 + b"\r\n--cut-here-123\r\n"
    answer = await upload(yard.client, data, purpose="user_data")
    assert answer.status == 200
    told = answer.json()
    validator("file").validate(told)
    assert (told["bytes"], told["purpose"], told["filename"]) == (
        len(data),
        "user_data",
        "input.jsonl",
    )
    seen = await yard.client.call("GET", f"{PATH}/{told['id']}")
    assert seen.json() == told
    content = await yard.client.call("GET", f"{PATH}/{told['id']}/content")
    assert content.body == data
    assert content.headers["content-type"] == "application/octet-stream"
    assert content.headers["content-disposition"] == 'attachment; filename="input.jsonl"'
    assert content.headers["x-content-type-options"] == "nosniff"


async def test_a_deleted_file_is_gone(yard: FakeYard) -> None:
    told = (await upload(yard.client, b"x")).json()
    answer = await yard.client.call("DELETE", f"{PATH}/{told['id']}")
    validator("file_deleted").validate(answer.json())
    for method, target in (
        ("GET", f"{PATH}/{told['id']}"),
        ("GET", f"{PATH}/{told['id']}/content"),
        ("DELETE", f"{PATH}/{told['id']}"),
    ):
        assert (await yard.client.call(method, target)).status == 404
    assert list((yard.folder / "files").iterdir()) == []


async def test_a_file_can_end_by_itself(yard: FakeYard) -> None:
    kept = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    told = (await upload(yard.client, b"x", **kept)).json()
    validator("file").validate(told)
    assert told["expires_at"] == told["created_at"] + 3600
    await yard.clock.advance(3600)
    assert (await yard.client.call("GET", f"{PATH}/{told['id']}")).status == 404
    assert (await yard.client.call("GET", PATH)).json()["data"] == []
    await yard.clock.advance(61)
    assert list((yard.folder / "files").iterdir()) == []


async def test_pages(yard: FakeYard) -> None:
    made = []
    for number in range(5):
        purpose = "user_data" if number == 2 else "batch"
        made.append((await upload(yard.client, b"x", purpose=purpose)).json()["id"])
        await yard.clock.advance(1)
    first = (await yard.client.call("GET", f"{PATH}?limit=2")).json()
    validator("files").validate(first)
    assert [one["id"] for one in first["data"]] == [made[4], made[3]]
    assert first["has_more"] is True
    rest = (await yard.client.call("GET", f"{PATH}?after={first['last_id']}")).json()
    assert [one["id"] for one in rest["data"]] == [made[2], made[1], made[0]]
    assert rest["has_more"] is False
    oldest = (await yard.client.call("GET", f"{PATH}?order=asc&purpose=batch&limit=2")).json()
    assert [one["id"] for one in oldest["data"]] == [made[0], made[1]]
    none = (await yard.client.call("GET", f"{PATH}?purpose=batch_output")).json()
    validator("files").validate(none)
    assert none["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("order=up", "order"),
        ("purpose=fun", "purpose"),
        ("after=file_none", "after"),
    ],
)
async def test_a_bad_page_is_refused_by_name(yard: FakeYard, query: str, param: str) -> None:
    answer = await yard.client.call("GET", f"{PATH}?{query}")
    assert (answer.status, answer.error["param"]) == (400, param)


BAD_FORMS: list[tuple[bytes, dict[str, str], str | None]] = [
    (b"{}", {"content-type": "application/json"}, "file"),
    (b"", {}, "file"),
    (b"", {"content-type": "multipart/form-data"}, "file"),
    (b"", {"content-type": "multipart/form-data; boundary=" + "x" * 300}, None),
    (b"", TYPE, None),
    (b"no form at all", TYPE, None),
    (form(b"x", purpose="batch")[0][:-9], TYPE, None),
    (form(b"x")[0], TYPE, "purpose"),
    (form(b"x", purpose="fine-tune")[0], TYPE, "purpose"),
    (form(None, purpose="batch")[0], TYPE, "file"),
    (form(b"x", purpose="batch", wisdom="1")[0], TYPE, "wisdom"),
    (form(b"x", purpose="b" * (FIELD_BYTES_MAX + 1))[0], TYPE, "purpose"),
    (form(b"x", **{"purpose": "batch", "expires_after[seconds]": "3600"})[0], TYPE,
     "expires_after"),
    (form(b"x", **{"purpose": "batch", "expires_after[anchor]": "created_at",
                   "expires_after[seconds]": "1"})[0], TYPE, "expires_after"),
    (form(b"x", **{f"f{n}": "" for n in range(20)})[0], TYPE, None),
    (form(b"x", purpose="batch")[0].replace(b'; name="purpose"', b""), TYPE, None),
    (form(b"x", purpose="batch")[0].replace(b'name="purpose"', b'name="file"'), TYPE, "file"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "headers", "param"), BAD_FORMS)
async def test_what_is_no_such_form_is_refused_and_leaves_nothing(
    yard: FakeYard, body: bytes, headers: dict[str, str], param: str | None
) -> None:
    answer = await yard.client.call("POST", PATH, body=body, headers=headers)
    assert (answer.status, answer.error["param"]) == (400, param)
    validator("error").validate(answer.json())
    assert (await yard.client.call("GET", PATH)).json()["data"] == []
    assert list((yard.folder / "files").iterdir()) == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("a b.jsonl", "a b.jsonl"),
        ("../../etc/passwd", "passwd"),
        ("C:\\\\Users\\\\me\\\\x.jsonl", "x.jsonl"),
        ("ü 你好.txt", "ü 你好.txt"),
        ("x" * 400, "x" * 255),
        ("", "upload"),
        ("a\tb", "ab"),
    ],
)
async def test_names_are_only_names(yard: FakeYard, told: str, shown: str) -> None:
    body, headers = form(b"x", filename=told, purpose="batch")
    answer = await yard.client.call("POST", PATH, body=body, headers=headers)
    assert answer.json()["filename"] == shown
    content = await yard.client.call("GET", f"{PATH}/{answer.json()['id']}/content")
    assert content.body == b"x"


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        ({"file_bytes_max": 100}, 413, "file_too_large"),
        ({"project_bytes_max": 150}, 413, "file_storage_limit"),
    ],
)
async def test_limits_are_named(limits: dict[str, Any], status: int, code: str) -> None:
    async with open_fake_yard(Settings(files=FileSettings(**limits))) as yard:
        assert (await upload(yard.client, b"x" * 100)).status == 200
        answer = await upload(yard.client, b"x" * 101)
        assert (answer.status, answer.error["code"]) == (status, code)
        assert len(list((yard.folder / "files").iterdir())) == 1
        (file,) = (await yard.client.call("GET", PATH)).json()["data"]
        await yard.client.call("DELETE", f"{PATH}/{file['id']}")
        assert (await upload(yard.client, b"x" * 100)).status == 200


async def test_uploads_at_the_same_time_are_limited_and_given_up_when_silent() -> None:
    limits = FileSettings(uploads_max=1, silence_seconds=0.05)
    async with open_fake_yard(Settings(files=limits)) as yard:
        body, headers = form(b"x" * 100, purpose="batch")
        first = yard.client.open("POST", PATH, body=body[:50], headers=headers, body_ends=False)
        await yard.clock.settle()
        denied = await upload(yard.client, b"y")
        assert (denied.status, denied.error["code"]) == (503, "system_overloaded")
        answer = await first.finish()
        assert answer.status == 400
        assert (await upload(yard.client, b"y")).status == 200


async def test_a_client_that_leaves_half_way_leaves_nothing(yard: FakeYard) -> None:
    body, headers = form(b"x" * 100, purpose="batch")
    call = yard.client.open("POST", PATH, body=body[:50], headers=headers, body_ends=False)
    await yard.clock.settle()
    answer = await call.leave()
    assert answer.status == 0
    assert list((yard.folder / "files").iterdir()) == []
    assert (await upload(yard.client, b"y")).status == 200


async def test_a_start_sweeps_what_a_crash_left(yard: FakeYard) -> None:
    kept = (await upload(yard.client, b"kept")).json()["id"]
    (yard.folder / "files" / "file_lost").write_bytes(b"no row")
    (yard.folder / "files" / "file_half.part").write_bytes(b"half")
    await yard.office.files.start()
    assert [path.name for path in (yard.folder / "files").iterdir()] == [kept]


@given(st.binary(max_size=200), st.lists(st.integers(0, 400), max_size=6))
def test_a_form_may_be_cut_anywhere(data: bytes, cuts: list[int]) -> None:
    body, _ = form(data, purpose="batch", other="two words")
    reading = _Reading(BOUNDARY.encode())
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    found = b"".join(
        part for start, end in pairwise(places) for part in reading.feed(body[start:end])
    )
    told = reading.end()
    assert found == data
    assert told.fields == {"purpose": "batch", "other": "two words"}
    assert told.filename == "input.jsonl"
