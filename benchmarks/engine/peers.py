"""Who is measured beside us, how each is started, and why one that is not there is not.

`python -m benchmarks.engine.peers` installs what our own packages do not have into
.make/engine-peers. A peer either speaks HTTP, as we do, or runs inside a process that takes token
ids (`in_process`), which spares it HTTP and text. Does not measure.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
MADE = ROOT / ".make" / "engine-peers"
REQUIREMENTS = ROOT / "requirements" / "engine-peers.txt"
HERE = Path(__file__).parent
NAMES = ("llama.cpp", "llama.cpp q4_0", "openvino", "transformers", "vllm")
NOT_INSTALLED = "not installed: python -m benchmarks.engine.peers"
NO_VLLM = (
    "not tried here: it does not read GGUF files, and its CPU build is 3.5 GB. Where it runs, "
    "--address vllm=http://HOST:PORT measures it"
)


@dataclass(frozen=True)
class Peer:
    """A command that is started, or the reason why there is none."""

    name: str
    command: tuple[str, ...] = ()
    absent: str = ""
    # Whether it is asked over a pipe, with token ids, and not over HTTP.
    in_process: bool = False


def find_peer(name: str, model: Path) -> Peer:
    """How to start that peer on this model file."""
    python = MADE / "bin" / "python"
    if name == "vllm":
        return Peer(name, absent=NO_VLLM)
    if name == "openvino" and not python.exists():
        return Peer(name, absent=NOT_INSTALLED)
    package = {"transformers": "transformers", "openvino": None}.get(name, "xllamacpp")
    if package is not None and find_spec(package) is None:
        return Peer(name, absent=f"{package} is not installed: requirements/dev.txt has it")
    if name in ("openvino", "transformers"):
        program = str(python if name == "openvino" else sys.executable)
        script = HERE / "in_process_peer.py"
        return Peer(name, (program, str(script), name, str(model)), in_process=True)
    path = write_q4_0(model) if name.endswith("q4_0") else model
    return Peer(name, (sys.executable, str(HERE / "llama_cpp_server.py"), "--model", str(path)))


def write_q4_0(model: Path) -> Path:
    """The same model with its Q4_1 tensors as Q4_0, the format that llama.cpp is fastest with.

    Quantised a second time, from the values that the file stands for.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter  # noqa: PLC0415
    from gguf.quants import dequantize, quantize  # noqa: PLC0415

    path = MADE.with_name("engine-peers-files") / f"{model.stem}.as-q4_0.gguf"
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    reader = GGUFReader(model)
    writer = GGUFWriter(partial, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value, inner = field.types[0], field.types[-1]
        part = inner if value is GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), value, sub_type=part)
    for tensor in reader.tensors:
        data, kind = np.asarray(tensor.data), tensor.tensor_type
        if kind is GGMLQuantizationType.Q4_1:
            kind = GGMLQuantizationType.Q4_0
            data = quantize(dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(path)
    return path


def install(arguments: Sequence[str] = ()) -> None:
    """Make the environment of the peers; quick when it is there."""
    if not (MADE / "bin" / "python").exists():
        venv.create(MADE, with_pip=True)
    command = [str(MADE / "bin" / "python"), "-m", "pip", "install", "--quiet", *arguments]
    subprocess.run([*command, "--requirement", str(REQUIREMENTS)], check=True)


if __name__ == "__main__":
    install(sys.argv[1:])
