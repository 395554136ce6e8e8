"""How long do all matrix products of one step take, in each format, and how exact are they?

`python -m benchmarks.engine.products` multiplies random rows by every matrix of the default model,
the formats in turns, and gives the median in milliseconds and the relative error against float32.
Results go to benchmarks/results/products.json.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor

from tokenyard.engine.catalogue import find_file
from tokenyard.engine.model.checkpoints import open_checkpoint, read_shape
from tokenyard.engine.model.decoder import Decoder
from tokenyard.engine.model.kernels import fitting, open_library
from tokenyard.engine.model.linear import LinearMaker, WeightFormat
from tokenyard.engine.model.padding import PaddingDropper
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.settings import home_folder

RESULTS = Path(__file__).parents[1] / "results" / "products.json"
ROWS = (1, 8, 16, 64, 256)
ROUNDS = 7


def load(model: Path, kind: WeightFormat, instructions: str = "") -> Decoder:
    library = next((open_library(one) for one in fitting() if one == instructions), None)
    with open_checkpoint(model) as file, PaddingDropper() as padding, torch.inference_mode():
        maker = LinearMaker(kind, padding, library, torch.get_num_threads())
        return Decoder(file, read_shape(file), maker)


def measure(decoder: Decoder, rows: dict[int, Tensor]) -> float:
    """Seconds for all products, the head's included."""
    shape = decoder.shape
    wide, narrow = rows[shape.inner_width], rows[shape.width]
    began = time.perf_counter()
    for layer in decoder.layers:
        layer.qkv(narrow)
        layer.attention_out(narrow)
        layer.gate_up(narrow)
        layer.down(wide)
    decoder.head(narrow)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    model = find_file(EngineSettings().model, home_folder(os.environ) / "models").path
    ways = {"fp16": load(model, WeightFormat.FP16)} | {
        f"quantised, {one}": load(model, WeightFormat.QUANTISED, one) for one in fitting()
    }
    exact = load(model, WeightFormat.FP32)
    shape = exact.shape
    figures = []
    with torch.inference_mode():
        for count in ROWS:
            rows = {width: torch.randn(count, width) for width in (shape.width, shape.inner_width)}
            taken: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(ROUNDS):
                for name, decoder in ways.items():
                    taken[name].append(measure(decoder, rows))
            wanted = exact.layers[0].gate_up(rows[shape.width])
            for name, decoder in ways.items():
                error = decoder.layers[0].gate_up(rows[shape.width]) - wanted
                figures.append(
                    {
                        "weights": name,
                        "rows": count,
                        "milliseconds": round(statistics.median(taken[name]) * 1e3, 1),
                        "relative_error": float(f"{error.norm() / wanted.norm():.1e}"),
                    }
                )
                # tidy: allow print: the figures are this program's output.
                print(figures[-1], flush=True)
    asked.output.write_text(json.dumps({"model": model.name, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
