"""A model small enough for unit tests: a byte vocabulary with a few merges, and random weights."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content']"
    " + '<|im_end|>' + '\n'}}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)


def byte_letters() -> list[str]:
    """GPT-2's printable letter for each byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    letters, extra = [], 256
    for byte in range(256):
        letters.append(chr(byte if byte in printable else extra))
        extra += byte not in printable
    return letters


def make_metadata() -> dict[str, Any]:
    merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "o r", "l d", "Ġw or", "Ġwor ld"]
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    merged = [merge.replace(" ", "") for merge in merges]
    tokens = [*control, *byte_letters(), *merged, "<think>"]
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 3 + [1] * (256 + len(merged)) + [4],
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": CHATML,
    }


def write_model(
    path: Path,
    *,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_width: int = 8,
    inner: int = 48,
    context: int = 256,
    tied: bool = True,
    seed: int = 0,
    architecture: str = "llama",
    replace: dict[str, np.ndarray[Any, Any]] | None = None,
    leave_out: str = "",
    quantised: gguf.GGMLQuantizationType | None = None,
) -> Path:
    """A random llama checkpoint in float32, or with its matrices quantised; gives its path."""
    metadata = make_metadata()
    random = np.random.default_rng(seed)
    width = heads * head_width
    vocabulary = len(metadata["tokenizer.ggml.tokens"])
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_block_count(layers)
    writer.add_embedding_length(width)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_feed_forward_length(inner)
    writer.add_context_length(context)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(metadata["tokenizer.ggml.model"])
    writer.add_tokenizer_pre(metadata["tokenizer.ggml.pre"])
    writer.add_token_list(metadata["tokenizer.ggml.tokens"])
    writer.add_token_types(metadata["tokenizer.ggml.token_type"])
    writer.add_token_merges(metadata["tokenizer.ggml.merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(metadata["tokenizer.chat_template"])
    shapes = {"token_embd": (vocabulary, width), "output_norm": (width,)}
    if not tied:
        shapes["output"] = (vocabulary, width)
    for layer in range(layers):
        start = f"blk.{layer}."
        shapes |= {
            start + "attn_norm": (width,),
            start + "attn_q": (width, width),
            start + "attn_k": (kv_heads * head_width, width),
            start + "attn_v": (kv_heads * head_width, width),
            start + "attn_output": (width, width),
            start + "ffn_norm": (width,),
            start + "ffn_gate": (inner, width),
            start + "ffn_up": (inner, width),
            start + "ffn_down": (width, inner),
        }
    for name, shape in shapes.items():
        values = random.standard_normal(shape, dtype=np.float32) * 0.4
        values = values + 1 if len(shape) == 1 else values
        if quantised is not None and name.startswith("blk.") and len(shape) == 2:
            packed = gguf.quants.quantize(values, quantised)
            writer.add_tensor(f"{name}.weight", packed, raw_dtype=quantised)
        elif name != leave_out:
            writer.add_tensor(f"{name}.weight", (replace or {}).get(name, values))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
