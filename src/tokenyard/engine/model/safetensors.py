"""A Hugging Face folder read as if it were a GGUF file: the same names, the same keys.

Decides how `config.json`, the tokenizer's files and the safetensors files translate into the
words that the rest of the engine knows; nothing but this page knows Hugging Face's names. A folder
that is not whole, or whose model we do not run, gives a StartError with a sentence.
Source: the safetensors format, and the configuration fields of transformers.
"""

import json
import mmap
import re
from collections.abc import Mapping
from math import pi, prod
from pathlib import Path
from typing import Any, Self

import numpy as np

from tokenyard.engine.model import quantisation
from tokenyard.engine.model.gguf import Rows, TensorEntry
from tokenyard.engine.model.quantisation import Floats, TensorKind
from tokenyard.engine.model.sentencepiece import PieceModel, read_pieces
from tokenyard.vocabulary.errors import StartError

HEADER_BYTES_MAX = 100 * 1024 * 1024
JSON_BYTES_MAX = 100 * 1024 * 1024
INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
# By `model_type`; Mistral is Llama with a window, `gemma3` the text half of a model that also sees.
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "gemma3_text": "gemma3",
    "gemma3": "gemma3",
}
FACTORS = "rope_freqs.weight"
# Families whose configuration names a window that is off unless it says otherwise.
_UNWINDOWED = ("llama", "qwen2", "qwen3")

_KINDS = {"F32": TensorKind.F32, "F16": TensorKind.F16, "BF16": TensorKind.BF16}
_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
# What a model that also sees puts before the names of its text half.
_TEXT_HALF = re.compile(r"^(language_model\.model\.|model\.language_model\.)")
_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?P<part>[a-z_.]+)\.(?P<kind>weight|bias)")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_GEMMA_PARTS = _PARTS | {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


class SafetensorsFolder:
    """Has what `GgufFile` has: `path`, `metadata`, `tensors`, and how to read a tensor."""

    # Hugging Face keeps what a rotation turns half a head apart, whatever the family.
    neighbours = False

    def __init__(self, path: Path) -> None:
        self.path = path
        config = read_json(path / "config.json")
        if isinstance(config.get("text_config"), dict):
            config = {**config, **config["text_config"]}
        self.metadata = _translate_config(path, config) | _translate_tokenizer(path, config)
        gemma = self.metadata["general.architecture"] == "gemma3"
        # Gemma stores how far the weights of its norms are from 1; GGUF has them whole.
        self._norm_offset = 1.0 if gemma else 0.0
        tied = config.get("tie_word_embeddings", gemma)
        self._places: dict[str, tuple[Path, TensorEntry]] = {}
        for file in _weight_files(path):
            for entry in read_header(file):
                name = _translate_name(entry.name, _GEMMA_PARTS if gemma else _PARTS)
                if name == "output.weight" and tied:
                    continue
                if name is not None:
                    self._places[name] = (file, entry)
        self.tensors = {name: entry for name, (_, entry) in self._places.items()}
        self._factors = _rope_factors(path, config, self.metadata)
        if self._factors is not None:
            self.tensors[FACTORS] = TensorEntry(
                FACTORS, self._factors.shape, TensorKind.F32, 0, self._factors.nbytes
            )

    def dequantised(self, name: str) -> Floats:
        """The tensor as float32; raises StartError when there is none of that name."""
        result: Floats = np.empty(self.shape(name), dtype=np.float32)
        self.dequantise_into(name, result)
        return result

    def dequantise_into(self, name: str, result: Floats) -> None:
        """The same into contiguous memory of as many values."""
        if name == FACTORS and self._factors is not None:
            result[:] = self._factors
            return
        file, entry = self._place(name)
        raw = np.fromfile(file, np.uint8, entry.size_bytes, offset=entry.offset)
        if len(raw) != entry.size_bytes:
            raise StartError(f"{file} ends in the middle of tensor {entry.name!r}.")
        quantisation.dequantise(raw, entry.kind, result.reshape(-1))
        if name.endswith("norm.weight"):
            result += self._norm_offset

    def grid(self, name: str) -> None:
        """There is none: these files hold plain numbers."""

    def open_rows(self, name: str) -> Rows:
        """The tensor's rows, read when they are asked for."""
        return Rows(*self._place(name))

    def shape(self, name: str) -> tuple[int, ...]:
        if name in self.tensors:
            return self.tensors[name].shape
        return self._place(name)[1].shape

    def _place(self, name: str) -> tuple[Path, TensorEntry]:
        place = self._places.get(name)
        if place is None:
            raise StartError(f"{self.path} has no tensor for {name!r}; it is not a whole model.")
        return place

    def close(self) -> None:
        """Files are open only while they are read."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise StartError(f"{path} is longer than {JSON_BYTES_MAX} bytes.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StartError(f"{path} cannot be read: {error}.") from None
    if not isinstance(value, dict):
        raise StartError(f"{path} does not hold an object.")
    return value


def _weight_files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.exists():
        return [folder / SINGLE]
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise StartError(f"{index} has no weight_map.")
    names = sorted({str(name) for name in places.values()})
    for name in names:
        if Path(name).name != name:
            raise StartError(f"{index} names a file outside its folder: {name!r}.")
    return [folder / name for name in names]


def read_header(file: Path) -> list[TensorEntry]:
    """The tensors of one file, checked against its length."""
    try:
        with file.open("rb") as source:
            mapped = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise StartError(f"The model file {file} cannot be read: {error}.") from None
    with mapped:
        length = int.from_bytes(mapped[:8], "little")
        if len(mapped) < 8 or length > min(HEADER_BYTES_MAX, len(mapped) - 8):
            raise StartError(f"{file} is not a usable safetensors file: its header is cut.")
        try:
            header = json.loads(mapped[8 : 8 + length])
            return [
                _read_entry(name, value, 8 + length, len(mapped))
                for name, value in header.items()
                if name != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StartError(f"{file} is not a usable safetensors file: {error!r}.") from None


def _read_entry(name: str, value: Mapping[str, Any], start: int, file_bytes: int) -> TensorEntry:
    kind = _KINDS.get(value["dtype"])
    if kind is None:
        raise ValueError(f"tensor {name!r} has type {value['dtype']!r}; we read {[*_KINDS]}")
    shape = tuple(int(size) for size in value["shape"])
    first, last = (int(offset) for offset in value["data_offsets"])
    size = quantisation.size_bytes(kind, prod(shape))
    if min(shape, default=1) < 0 or first < 0 or last - first != size or start + last > file_bytes:
        raise ValueError(f"tensor {name!r} does not lie where the header says")
    return TensorEntry(name, shape, kind, start + first, size)


def _translate_name(name: str, parts: Mapping[str, str]) -> str | None:
    """The name in GGUF's words; None for what a decoder does not need."""
    name = _TEXT_HALF.sub("model.", name)
    if name in _WHOLE:
        return _WHOLE[name]
    match = _LAYER.fullmatch(name)
    if match is None or match["part"] not in parts:
        return None
    return f"blk.{match['layer']}.{parts[match['part']]}.{match['kind']}"


def _translate_config(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("model_type")
    architecture = ARCHITECTURES.get(str(kind))
    if architecture is None:
        raise StartError(
            f"{folder} holds a model of type {kind!r}; this engine runs "
            f"{', '.join(ARCHITECTURES)}. Serve others through an upstream."
        )
    fields = {
        "block_count": config.get("num_hidden_layers"),
        "embedding_length": config.get("hidden_size"),
        "attention.head_count": config.get("num_attention_heads"),
        "attention.head_count_kv": config.get("num_key_value_heads"),
        "attention.key_length": config.get("head_dim"),
        "feed_forward_length": config.get("intermediate_size"),
        "context_length": config.get("max_position_embeddings"),
        "rope.freq_base": _rope(config).get("rope_theta", config.get("rope_theta")),
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps"),
    }
    fields |= _windows(config) | (_gemma_fields(config) if architecture == "gemma3" else {})
    known = {f"{architecture}.{key}": value for key, value in fields.items() if value is not None}
    return {"general.architecture": architecture, **known}


def _windows(config: Mapping[str, Any]) -> dict[str, Any]:
    """Which layers see only the newest tokens, and how many of these."""
    kind, window = config.get("model_type"), config.get("sliding_window")
    if not isinstance(window, int) or not config.get("use_sliding_window", kind not in _UNWINDOWED):
        return {}
    types, layers = config.get("layer_types"), int(config.get("num_hidden_layers") or 0)
    told: Any = config.get("sliding_window_pattern")
    if isinstance(types, list):
        told = [one == "sliding_attention" for one in types]
    elif kind == "mistral":
        told = [True] * layers
    elif kind in _UNWINDOWED:
        first = config.get("max_window_layers", layers)
        told = [number >= first for number in range(layers)]
    return {"attention.sliding_window": window, "attention.sliding_window_pattern": told}


def _gemma_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """Two bases of rotation, one for windowed layers, and linear scaling for the others."""
    whole, windowed = _rope(config), config.get("rope_local_base_freq", 10_000.0)
    if "full_attention" in whole:
        windowed = whole.get("sliding_attention", {}).get("rope_theta", windowed)
        whole = whole["full_attention"]
    scaled = whole.get("rope_type", whole.get("type")) == "linear"
    return {
        "attention.scale": float(config.get("query_pre_attn_scalar", 256)) ** -0.5,
        "attention.key_length": config.get("head_dim", 256),
        "attention.layer_norm_rms_epsilon": config.get("rms_norm_eps", 1e-6),
        "final_logit_softcapping": config.get("final_logit_softcapping"),
        "attn_logit_softcapping": config.get("attn_logit_softcapping"),
        "rope.freq_base": whole.get("rope_theta", config.get("rope_theta", 1_000_000.0)),
        "rope.freq_base_swa": windowed,
        "rope.scaling.type": "linear" if scaled else None,
        "rope.scaling.factor": whole.get("factor") if scaled else None,
    }


def _rope(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How positions turn; newer files have one object, older ones a scaling beside the base."""
    value = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return value if isinstance(value, dict) else {}


def _rope_factors(
    folder: Path, config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Floats | None:
    """Divisors of the rotation speeds, as Llama 3.1 scales them."""
    rope = _rope(config)
    kind = rope.get("rope_type", rope.get("type", "default"))
    gemma = metadata["general.architecture"] == "gemma3"
    if kind == "default" or gemma:
        return None
    if kind != "llama3":
        raise StartError(f"{folder} scales positions by {kind!r}, which we do not.")
    architecture = metadata["general.architecture"]
    width = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    base = float(metadata[f"{architecture}.rope.freq_base"])
    lengths = 2 * pi * base ** (np.arange(0, width, 2) / width)
    factor, old = float(rope["factor"]), float(rope["original_max_position_embeddings"])
    low, high = float(rope["low_freq_factor"]), float(rope["high_freq_factor"])
    smooth = np.clip((old / lengths - low) / (high - low), 0.0, 1.0)
    factors: Floats = (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)
    return factors


def _translate_tokenizer(folder: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    settings_path = folder / "tokenizer_config.json"
    settings = read_json(settings_path) if settings_path.exists() else {}
    model = folder / "tokenizer.model"
    if model.exists() and not (folder / "tokenizer.json").exists():
        texts, metadata = _translate_pieces(read_pieces(model), settings, config)
    else:
        texts, metadata = _translate_json(folder, settings, config)
    ids = {text: number for number, text in texts.items()}
    for name in ("bos", "eos"):
        text = settings.get(f"{name}_token")
        text = text.get("content") if isinstance(text, dict) else text
        if text in ids:
            metadata[f"tokenizer.ggml.{name}_token_id"] = ids[text]
    metadata["tokenizer.ggml.end_token_ids"] = _end_ids(folder, config)
    template = _chat_template(folder, settings)
    if template is not None:
        metadata["tokenizer.chat_template"] = template
    return metadata


def _translate_json(
    folder: Path, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[int, str], dict[str, Any]]:
    """The texts by id, and GGUF's words, of a `tokenizer.json`."""
    whole = read_json(folder / "tokenizer.json")
    model = whole.get("model") or {}
    if model.get("type") != "BPE" or not isinstance(model.get("vocab"), dict):
        raise StartError(f"{folder}: the tokenizer is of kind {model.get('type')!r}; we read BPE.")
    pieces = bool(model.get("byte_fallback"))
    if not pieces and "ByteLevel" not in json.dumps(whole.get("decoder")):
        raise StartError(f"{folder}: the tokenizer does not work on bytes; we read those that do.")
    added = [one for one in whole.get("added_tokens") or [] if isinstance(one, dict)]
    by_id = {number: text for text, number in model["vocab"].items()}
    types = {number: 6 if pieces and _BYTE.fullmatch(text) else 1 for number, text in by_id.items()}
    for one in added:
        by_id[one["id"]] = one["content"]
        types[one["id"]] = 3 if one.get("special") else 4
    return by_id, {
        "tokenizer.ggml.model": "llama" if pieces else "gpt2",
        **_list_tokens(by_id, types, config),
        "tokenizer.huggingface.json": json.dumps(whole),
        "tokenizer.ggml.add_bos_token": bool(settings.get("add_bos_token", False)),
    }


def _translate_pieces(
    model: PieceModel, settings: Mapping[str, Any], config: Mapping[str, Any]
) -> tuple[dict[int, str], dict[str, Any]]:
    """The same of SentencePiece's file and of the tokens that were added to it."""
    by_id = dict(enumerate(model.pieces))
    types = dict(enumerate(model.types))
    for number, one in (settings.get("added_tokens_decoder") or {}).items():
        by_id[int(number)] = str(one["content"])
        if int(number) >= len(model.pieces) or types[int(number)] == 1:
            types[int(number)] = 3 if one.get("special") else 4
    listed = _list_tokens(by_id, types, config)
    count = len(listed["tokenizer.ggml.tokens"])
    metadata: dict[str, Any] = {
        "tokenizer.ggml.model": "llama",
        **listed,
        "tokenizer.ggml.scores": [*model.scores, *[0.0] * (count - len(model.scores))],
        "tokenizer.ggml.add_space_prefix": model.adds_space,
        "tokenizer.ggml.add_bos_token": bool(settings.get("add_bos_token", True)),
    }
    for name, number in (("bos", model.bos_id), ("eos", model.eos_id)):
        if number is not None and number < len(model.pieces):
            metadata[f"tokenizer.ggml.{name}_token_id"] = number
    return by_id, metadata


def _list_tokens(
    by_id: Mapping[int, str], types: Mapping[int, int], config: Mapping[str, Any]
) -> dict[str, Any]:
    # An embedding may have more rows than there are tokens.
    count = max(max(by_id) + 1, int(config.get("vocab_size") or 0))
    return {
        "tokenizer.ggml.tokens": [by_id.get(number, "") for number in range(count)],
        "tokenizer.ggml.token_type": [types.get(number, 5) for number in range(count)],
    }


def _end_ids(folder: Path, config: Mapping[str, Any]) -> list[int]:
    """Of `generation_config.json`, which may name several."""
    path = folder / "generation_config.json"
    value = (read_json(path) if path.exists() else config).get("eos_token_id")
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, int)]


def _chat_template(folder: Path, settings: Mapping[str, Any]) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    value = settings.get("chat_template")
    if isinstance(value, list):
        named = {one.get("name"): one.get("template") for one in value if isinstance(one, dict)}
        value = named.get("default")
    return value if isinstance(value, str) else None
