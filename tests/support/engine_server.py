"""The engine's server over a scripted model, for tests of its routes."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema

from support.asgi import AsgiClient
from tokenyard.engine.catalogue import ModelFile
from tokenyard.engine.front import Engine
from tokenyard.engine.grammar import GrammarCompiler
from tokenyard.engine.rules.batching import Chunk
from tokenyard.engine.scripted import NextToken, ScriptedRunner, say
from tokenyard.engine.server.app import LoadedModel, ModelServer, make_app
from tokenyard.engine.template import ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import SeededRandomness
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.ids import ModelName

SPEC = json.loads((Path(__file__).parents[1] / "spec" / "openai-cut.json").read_text())
MODEL = "tiny"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
END = 2


def check(value: Any, kind: str) -> None:
    """Fails unless the value is what OpenAI's description says."""
    schema = {"$ref": f"#/components/schemas/{kind}", "components": SPEC["components"]}
    jsonschema.Draft202012Validator(schema).validate(value)


class Served:
    """A server under test."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: str | None,
        tasks: TaskSupervisor,
        next_token: NextToken,
        before_step: Callable[[Sequence[Chunk]], None] | None,
        context_tokens: int,
    ) -> None:
        self.logged = io.StringIO()
        log, metrics = Log(self.logged, RealClock()), EngineMetrics()
        settings = EngineSettings(body_bytes_max=20_000, sequences_max=2, queued_requests_max=1)
        self.runner = ScriptedRunner(
            next_token, before_step=before_step, context_tokens=context_tokens
        )
        self.engine = Engine(
            self.runner,
            tokenizer,
            settings,
            clock=RealClock(),
            randomness=SeededRandomness(1),
            log=log,
            metrics=metrics,
            broken=lambda: None,
        )
        chat = None if template is None else ChatTemplate(template, tokenizer)
        self.server = ModelServer(
            model=ModelFile(ModelName(MODEL), Path("tiny.gguf"), 7),
            settings=settings,
            clock=RealClock(),
            randomness=SeededRandomness(2),
            log=log,
            metrics=metrics,
            tasks=tasks,
            loaded=LoadedModel(
                self.engine,
                tokenizer,
                chat,
                GrammarCompiler(tokenizer, bytes_max=4000, kept_max=4),
            ),
        )
        self.client = AsgiClient(make_app(self.server))


@asynccontextmanager
async def open_served(
    tokenizer: Tokenizer,
    text: str = "hello world",
    *,
    template: str | None,
    next_token: NextToken | None = None,
    before_step: Callable[[Sequence[Chunk]], None] | None = None,
    context_tokens: int = 200,
) -> AsyncIterator[Served]:
    """A running server that says `text`, or what `next_token` gives."""
    failures: list[str] = []
    script = next_token or say(tokenizer.encode(text, specials=False), END)
    async with TaskSupervisor(lambda name, error: failures.append(name)) as tasks:
        served = Served(tokenizer, template, tasks, script, before_step, context_tokens)
        served.engine.start()
        try:
            yield served
        finally:
            await asyncio.to_thread(served.engine.stop)
    assert failures == []
