"""How often does a cheaper way to compute choose the token that float32 would choose?

`python -m benchmarks.engine.agreement` writes greedy answers by torch with float32 weights and an
exact KV cache, and then forces the other ways along these texts: the share of places where their
likeliest token is the same, and how much memory a token of the KV cache takes. Nothing is timed, so
a busy machine does no harm. Results go to benchmarks/results/agreement.json.
"""

import argparse
import json
import os
from collections.abc import Iterable
from pathlib import Path

from benchmarks.engine.__main__ import QUESTION, SUBJECTS
from tokenyard.engine.catalogue import find_file
from tokenyard.engine.model.checkpoints import open_checkpoint, read_shape
from tokenyard.engine.model.kv_pool import KvFormat
from tokenyard.engine.model.runner import TorchRunner
from tokenyard.engine.rules.batching import Batch, BatchLimits, Sequence
from tokenyard.engine.rules.drawing import DrawRule
from tokenyard.engine.rules.paging import BlockPool
from tokenyard.engine.template import ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.settings import home_folder
from tokenyard.vocabulary.messages import Message, Role

RESULTS = Path(__file__).parents[1] / "results" / "agreement.json"
WAYS = (
    ("quantised", KvFormat.FP32),
    ("quantised", KvFormat.FP16),
    ("quantised", KvFormat.INT8),
    ("fp16", KvFormat.FP32),
    ("fp32", KvFormat.FP16),
    ("fp16", KvFormat.FP16),
    ("fp32", KvFormat.INT8),
    ("fp16", KvFormat.INT8),
)
GREEDY = DrawRule(temperature=0.0, top_p=1.0, top_k=0, seed=0, position=0)
CACHE_BYTES = 256 * 1024 * 1024
STEP_TOKENS = 256


def make_runner(model: Path, weights: str, kind: KvFormat, kernels: str = "auto") -> TorchRunner:
    with open_checkpoint(model) as file:
        return TorchRunner(
            file, weights=weights, threads=0, kv_cache_bytes=CACHE_BYTES, block_tokens=16,
            kv_format=kind, kernels=kernels,
        )  # fmt: skip


def write_answers(runner: TorchRunner, prompts: list[list[int]], count: int) -> list[list[int]]:
    """Greedy texts, prompts included."""
    batch = Batch(BlockPool(runner.block_count), BatchLimits(STEP_TOKENS, 16, 16, STEP_TOKENS))
    texts = [Sequence(number, list(prompt)) for number, prompt in enumerate(prompts)]
    for text in texts:
        batch.add(text)
    while batch.running or batch.waiting:
        plan = batch.plan_step()
        drawn = runner.run(plan.chunks, dict.fromkeys(range(len(texts)), GREEDY))
        batch.settle(plan, {key: token or 0 for key, token in drawn.items()})
        for text in list(batch.running):
            if len(text.tokens) >= text.prompt_count + count:
                batch.end(text)
    return [text.tokens for text in texts]


def count_equal(runner: TorchRunner, texts: list[list[int]], starts: Iterable[int]) -> int:
    """Tokens of the answers that this runner finds likeliest where they stand."""
    equal = 0
    for tokens, start in zip(texts, starts, strict=True):
        batch = Batch(BlockPool(runner.block_count), BatchLimits(STEP_TOKENS, 1, 16, STEP_TOKENS))
        text = Sequence(0, list(tokens), prompt_top=0)
        batch.add(text)
        while text.computed < len(tokens):
            plan = batch.plan_step()
            drawn = runner.run(plan.chunks, {0: GREEDY})
            first, reports = drawn.prompts[0]
            equal += sum(
                1
                for place, report in enumerate(reports, start=first)
                if place >= start and report.rank == 1
            )
            batch.settle(plan, {key: token or 0 for key, token in drawn.items()})
    return equal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64, help="tokens of each answer")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    model = find_file(EngineSettings().model, home_folder(os.environ) / "models").path
    with open_checkpoint(model) as file:
        shape, tokenizer = read_shape(file), Tokenizer(file.metadata)
        template = ChatTemplate(str(file.metadata["tokenizer.chat_template"]), tokenizer)
    prompts = [
        template.encode(
            [Message(Role.USER, QUESTION.format(subject=subject))], mark=bytes(16), now=0
        )
        for subject in SUBJECTS
    ]
    reference = make_runner(model, "fp32", KvFormat.FP32, kernels="torch")
    texts = write_answers(reference, prompts, asked.tokens)
    del reference
    places = len(texts) * asked.tokens
    figures = []
    for weights, kind in WAYS:
        starts = [len(prompt) for prompt in prompts]
        equal = count_equal(make_runner(model, weights, kind), texts, starts)
        figures.append(
            {
                "weights": weights,
                "kv": kind.value,
                "places": places,
                "equal_share": round(equal / places, 4),
                "kv_bytes_per_token": kind.bytes_per_token(shape),
            }
        )
        # tidy: allow print: the figures are this program's output.
        print(figures[-1], flush=True)
    asked.output.write_text(json.dumps({"model": model.name, "figures": figures}, indent=2) + "\n")


if __name__ == "__main__":
    main()
