"""Reads `tokenizer.model`, the file of SentencePiece: pieces, scores and what each piece is.

Decides which of its models our tokenizer can stand for: BPE that changes nothing in a text but its
spaces. Others are refused by name. A file that is cut short or lies gives a StartError.
Source: sentencepiece_model.proto of SentencePiece, and the encoding of protocol buffers.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tokenyard.vocabulary.errors import StartError

FILE_BYTES_MAX = 64 * 1024 * 1024
# Fields of ModelProto, and of the messages in it.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BOS_ID, _EOS_ID = 3, 41, 42
_CHARACTERS, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPE_SPACES = 2, 3, 4, 5
_BPE = 2
_NORMAL = 1
_SIGN = 1 << 63

_Value = int | bytes


@dataclass(frozen=True, slots=True)
class PieceModel:
    """types: of each piece, in the numbers that GGUF took over. An id is None where it is off."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[int, ...]
    adds_space: bool
    bos_id: int | None
    eos_id: int | None


def read_pieces(path: Path) -> PieceModel:
    """The model in that file."""
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StartError(f"{path} is longer than {FILE_BYTES_MAX} bytes.")
        return _read_model(path.read_bytes())
    except (OSError, ValueError, IndexError, struct.error) as error:
        raise StartError(f"{path} cannot be read: {error}.") from None


def _read_model(data: bytes) -> PieceModel:
    pieces: list[tuple[str, float, int]] = []
    trainer: dict[int, _Value] = {}
    normalizer: dict[int, _Value] = {}
    for field, value in _fields(data):
        if field == _PIECES:
            one = dict(_fields(_bytes(value)))
            (score,) = struct.unpack("<f", _bytes(one.get(_SCORE, bytes(4))))
            text = _bytes(one.get(_TEXT, b"")).decode()
            pieces.append((text, score, _number(one.get(_TYPE, _NORMAL))))
        elif field == _TRAINER:
            trainer = dict(_fields(_bytes(value)))
        elif field == _NORMALIZER:
            normalizer = dict(_fields(_bytes(value)))
    if not pieces:
        raise ValueError("it has no pieces")
    if trainer.get(_MODEL_TYPE, 1) != _BPE:
        raise ValueError("its model is not BPE")
    if normalizer.get(_CHARACTERS) or normalizer.get(_EXTRA_SPACES, 1):
        raise ValueError("it changes texts before it cuts them, which we do not")
    if not normalizer.get(_ESCAPE_SPACES, 1):
        raise ValueError("it does not write spaces as a mark")
    return PieceModel(
        pieces=tuple(text for text, _, _ in pieces),
        scores=tuple(score for _, score, _ in pieces),
        types=tuple(kind for _, _, kind in pieces),
        adds_space=bool(normalizer.get(_DUMMY_PREFIX, 1)),
        bos_id=_id(trainer.get(_BOS_ID, 1)),
        eos_id=_id(trainer.get(_EOS_ID, 2)),
    )


def _fields(data: bytes) -> Iterator[tuple[int, _Value]]:
    """The fields of one message: varints as numbers, all else as bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field is of kind {kind}")
        if place + size > len(data):
            raise ValueError("it ends in the middle of a field")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of up to 64 bits, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number has too many bytes")


def _bytes(value: _Value) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is a number where bytes belong")
    return value


def _number(value: _Value) -> int:
    if not isinstance(value, int):
        raise ValueError("a field has bytes where a number belongs")
    return value


def _id(value: _Value) -> int | None:
    """Negative numbers, which turn a token off, have 64 bits."""
    number = _number(value)
    return None if number >= _SIGN else number
