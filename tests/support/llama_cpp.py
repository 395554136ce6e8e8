"""llama.cpp as a reference: the model rewritten in float32, served by the `xllamacpp` package."""

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import xllamacpp  # type: ignore[import-untyped]

from tokenyard.engine.model.gguf import GgufFile


def write_float32(source: Path, target: Path) -> None:
    """The same model without quantisation; llama.cpp then computes in float32 too."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = 0 if name == "general.file_type" else field.contents()
        is_array = field.types[0] == gguf.GGUFValueType.ARRAY
        writer.add_key_value(
            name, value, field.types[0], sub_type=field.types[-1] if is_array else None
        )
    with GgufFile(source) as file:
        for name in file.tensors:
            writer.add_tensor(name, file.dequantised(name))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class LlamaCpp:
    """A running llama.cpp server."""

    def __init__(self, address: str) -> None:
        self._address = address

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self._address + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def tokenize(self, text: str, *, specials: bool) -> list[int]:
        body = {"content": text, "parse_special": specials, "add_special": False}
        tokens: list[int] = self.post("/tokenize", body)["tokens"]
        return tokens

    def continue_greedily(self, prompt: list[int], count: int) -> list[int]:
        body = {
            "prompt": prompt,
            "n_predict": count,
            "temperature": 0,
            "return_tokens": True,
            "cache_prompt": False,
        }
        tokens: list[int] = self.post("/completion", body)["tokens"]
        return tokens


@contextmanager
def run_llama_cpp(path: Path) -> Iterator[LlamaCpp]:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 1024
    # One thread never waits for another one, whatever else the machine does.
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.warmup = False
    parameters.port = 0
    server = xllamacpp.Server(parameters)
    try:
        yield LlamaCpp(server.listening_address)
    finally:
        del server
