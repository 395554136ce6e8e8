"""Text to token ids and token ids to bytes, built from the metadata of a GGUF file.

Decides when the text of a control token (`<|im_end|>`) becomes that token: only where the caller
of `encode` says so, never inside what a user typed. Does not know chat templates.
Source: the `tokenizer.ggml.*` keys of the GGUF specification; the splitting patterns are those of
the tokenizers that the models were published with.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as _Bpe

from tokenyard.vocabulary.errors import StartError

GPT4_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Besides the one that the metadata names, these end a turn in the families we know.
END_TEXTS = frozenset(
    (
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|end_of_text|>",
        "<|end|>",
        "</s>",
        "<|eom_id|>",
        "<end_of_turn>",
    )
)


# What SentencePiece writes for a space.
SPACE = "\u2581"
BYTE_PIECE = re.compile("<0x[0-9A-Fa-f]{2}>")


class TokenType(IntEnum):
    """What a token of the vocabulary is; the numbers are GGUF's."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Tokenizer:
    """A BPE tokenizer over bytes or over SentencePiece's pieces; safe to use from several threads.

    end_ids: tokens that end an answer. control: matches the text of any control token.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        tokens = _texts(metadata, "tokenizer.ggml.tokens")
        types = metadata.get("tokenizer.ggml.token_type") or [TokenType.NORMAL] * len(tokens)
        if len(types) != len(tokens):
            raise StartError("The model file names another number of token types than tokens.")
        ids = {text: number for number, text in enumerate(tokens)}
        self.vocabulary_size = len(tokens)
        self._control = _ids_of(tokens, types, (TokenType.CONTROL, TokenType.UNKNOWN))
        self._user_defined = _ids_of(tokens, types, (TokenType.USER_DEFINED,))
        self.control = _any_of(self._control)
        self._every_special = _any_of({**self._control, **self._user_defined})
        self._user_defined_only = _any_of(self._user_defined)
        pieces = metadata.get("tokenizer.ggml.model") == "llama"
        self._bpe = _build_pieces(metadata, tokens, types) if pieces else _build_bpe(metadata, ids)
        spell = _spelled_piece if pieces else _spelled
        special = {*self._control.values(), *self._user_defined.values()}
        self._bytes = [
            b"" if number in special else spell(text) for number, text in enumerate(tokens)
        ]
        for text, number in self._user_defined.items():
            self._bytes[number] = text.encode()
        self._tokens = tokens
        self.bos_id = _optional_id(metadata, "bos", len(tokens))
        self.eos_id = _optional_id(metadata, "eos", len(tokens))
        self.adds_bos = bool(metadata.get("tokenizer.ggml.add_bos_token", pieces))
        named = (_optional_id(metadata, kind, len(tokens)) for kind in ("eos", "eot", "eom"))
        ends = {self._control[text] for text in END_TEXTS if text in self._control}
        ends.update(metadata.get("tokenizer.ggml.end_token_ids", ()))
        self.end_ids = frozenset(ends | {number for number in named if number is not None})

    def encode(self, text: str, *, specials: bool) -> list[int]:
        """Token ids of a text. `specials`: whether the text of a control token stands for it."""
        pattern = self._every_special if specials else self._user_defined_only
        ids: list[int] = []
        start = 0
        for match in pattern.finditer(text):
            ids.extend(self._encode_plain(text[start : match.start()]))
            found = match.group()
            ids.append(
                self._control[found] if found in self._control else self._user_defined[found]
            )
            start = match.end()
        ids.extend(self._encode_plain(text[start:]))
        return ids

    def with_bos(self, ids: list[int]) -> list[int]:
        """The ids with the begin token in front where the model wants one and none is there."""
        if self.adds_bos and self.bos_id is not None and ids[:1] != [self.bos_id]:
            return [self.bos_id, *ids]
        return ids

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a token adds to the text; none for control tokens."""
        return self._bytes[token]

    def token_text(self, token: int) -> str:
        """The token as the vocabulary spells it; for `bos_token` and the like in templates."""
        return self._tokens[token]

    def spell(self, token: int) -> tuple[str, bytes]:
        """A token by itself, for reports: its text, with U+FFFD for parts of characters, and bytes.

        A control token has its name for a text, though it adds none to an answer.
        """
        data = self._bytes[token] or self._tokens[token].encode()
        return data.decode("utf-8", errors="replace"), data

    def decode(self, ids: Iterable[int]) -> str:
        """The text of whole token ids; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self._bytes[token] for token in ids).decode("utf-8", errors="replace")

    def _encode_plain(self, text: str) -> list[int]:
        if not text:
            return []
        return self._bpe.encode(text, add_special_tokens=False).ids


def _build_bpe(metadata: Mapping[str, Any], ids: dict[str, int]) -> _Bpe:
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "gpt2":
        raise StartError(
            f"The model's tokenizer is of kind {kind!r}; we read 'gpt2' (BPE over bytes) and "
            "'llama' (SentencePiece)."
        )
    whole = metadata.get("tokenizer.huggingface.json")
    if isinstance(whole, str):
        return _read_bpe(whole)
    pairs = []
    for merge in _texts(metadata, "tokenizer.ggml.merges"):
        left, separator, right = merge.partition(" ")
        if not (separator and left in ids and right in ids and left + right in ids):
            raise StartError(f"The model's tokenizer has a broken merge {merge!r}.")
        pairs.append((left, right))
    split = metadata.get("tokenizer.ggml.pre", "default")
    bpe = _Bpe(models.BPE(vocab=ids, merges=pairs, ignore_merges=split in ("llama-bpe", "llama3")))
    # The stubs of the library leave these properties untyped.
    bpe.pre_tokenizer = _splitter(split)
    bpe.decoder = decoders.ByteLevel()
    if split == "qwen2":
        bpe.normalizer = normalizers.NFC()
    return bpe


def _build_pieces(metadata: Mapping[str, Any], tokens: Sequence[str], types: Sequence[int]) -> _Bpe:
    """SentencePiece's BPE: what merges into the piece of the highest score merges first."""
    whole = metadata.get("tokenizer.huggingface.json")
    if isinstance(whole, str):
        return _read_bpe(whole)
    scores = metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, list) or len(scores) != len(tokens):
        raise StartError("The model file has no usable tokenizer.ggml.scores.")
    ids = {text: number for number, text in enumerate(tokens)}
    unknown = next(
        (text for text, kind in zip(tokens, types, strict=True) if kind == TokenType.UNKNOWN), None
    )
    made = _Bpe(
        models.BPE(
            vocab=ids,
            merges=_merges(tokens, types, scores, ids),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    # The stubs of the library leave this property untyped.
    steps: list[Any] = [normalizers.Replace(" ", SPACE)]
    if metadata.get("tokenizer.ggml.add_space_prefix", True):
        steps.insert(0, normalizers.Prepend(SPACE))
    made.normalizer = normalizers.Sequence(steps)
    return made


def _merges(
    tokens: Sequence[str], types: Sequence[int], scores: Sequence[float], ids: Mapping[str, int]
) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the best piece first."""
    found = []
    for number, text in enumerate(tokens):
        if types[number] != TokenType.NORMAL:
            continue
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in ids and right in ids:
                found.append((-scores[number], ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]


def _read_bpe(whole: str) -> _Bpe:
    """Hugging Face's own description, without what we do ourselves: added tokens and framing."""
    try:
        described = json.loads(whole)
        described.update(added_tokens=[], post_processor=None, truncation=None, padding=None)
        return _Bpe.from_str(json.dumps(described))
    except Exception as error:
        # The library raises bare exceptions; whatever it is, the description does not hold.
        raise StartError(f"The model's tokenizer.json cannot be used: {error}.") from None


def _splitter(split: str) -> Any:
    """The step that cuts text into words before merging, by the name that GGUF gives it."""
    byte_level = pre_tokenizers.ByteLevel
    if split == "smollm":
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, byte_level(add_prefix_space=False)])
    if split in ("gpt-2", "default"):
        return byte_level(add_prefix_space=False)
    digits_max = {"qwen2": "", "llama-bpe": "{1,3}", "llama3": "{1,3}"}.get(split)
    if digits_max is None:
        raise StartError(
            f"The model's tokenizer splits text as {split!r}; we know smollm, gpt-2, llama-bpe, "
            "qwen2."
        )
    words = pre_tokenizers.Split(Regex(GPT4_WORDS % digits_max), "isolated")
    return pre_tokenizers.Sequence([words, byte_level(add_prefix_space=False, use_regex=False)])


def _texts(metadata: Mapping[str, Any], key: str) -> list[str]:
    value = metadata.get(key)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise StartError(f"The model file has no usable {key}.")
    return value


def _optional_id(metadata: Mapping[str, Any], kind: str, count: int) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{kind}_token_id")
    if value is None:
        return None
    if not isinstance(value, int) or not 0 <= value < count:
        raise StartError(f"The model file's {kind} token {value!r} is not in its vocabulary.")
    return value


def _ids_of(
    tokens: Sequence[str], types: Sequence[int], wanted: tuple[TokenType, ...]
) -> dict[str, int]:
    return {
        text: number
        for number, (text, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in wanted and text
    }


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the texts, the longest first; with none, it matches nothing."""
    ordered = sorted(texts, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {chr(byte): byte for byte in printable}
    others = (byte for byte in range(256) if byte not in set(printable))
    alphabet.update({chr(256 + place): byte for place, byte in enumerate(others)})
    return alphabet


_ALPHABET = _byte_alphabet()


def _spelled_piece(text: str) -> bytes:
    """The bytes behind a piece: `<0x0A>` is one byte, and SentencePiece's mark is a space."""
    if BYTE_PIECE.fullmatch(text):
        return bytes.fromhex(text[3:5])
    return text.replace(SPACE, " ").encode()


def _spelled(text: str) -> bytes:
    """The bytes behind a token's printable form; a token in no byte alphabet is its own text."""
    try:
        return bytes(_ALPHABET[letter] for letter in text)
    except KeyError:
        return text.encode()
