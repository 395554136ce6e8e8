"""Our model server over a scripted model, as a process: `python scripted_engine.py --port P`.

It says a long fixed text, the same after every prompt, a token every few milliseconds. All else is
the real server, so that it continues, counts and aborts as the real one does, without weights.
"""

import argparse
import asyncio
import sys
import time
from pathlib import Path

import uvicorn

from support.tiny_model import CHATML, make_metadata
from tokenyard.engine.catalogue import ModelFile
from tokenyard.engine.front import Engine
from tokenyard.engine.grammar import GrammarCompiler
from tokenyard.engine.scripted import ScriptedRunner, say
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

MODEL = "scripted"
# Characters of one to four bytes; a token is mostly a byte, so that they are cut.
SENTENCE = "hello world, Zwölf Boxkämpfer jagen 你好 🧪 über den Deich. "
TEXT = SENTENCE * 12
_END = 2


async def serve(port: int, token_seconds: float) -> None:
    """Until a stop signal."""
    tokenizer = Tokenizer(make_metadata())
    settings = EngineSettings(sequences_max=64)
    clock, log = RealClock(), Log(sys.stderr, RealClock(), level="warning")
    metrics, tasks = EngineMetrics(), TaskSupervisor(log.task_failed)
    engine = Engine(
        ScriptedRunner(
            say(tokenizer.encode(TEXT, specials=False), _END),
            block_count=16_384,
            context_tokens=4096,
            before_step=lambda chunks: time.sleep(token_seconds),
        ),
        tokenizer,
        settings,
        clock=clock,
        randomness=SeededRandomness(1),
        log=log,
        metrics=metrics,
        broken=lambda: None,
    )
    server = ModelServer(
        model=ModelFile(ModelName(MODEL), Path("scripted.gguf"), 7),
        settings=settings,
        clock=clock,
        randomness=SeededRandomness(2),
        log=log,
        metrics=metrics,
        tasks=tasks,
        loaded=LoadedModel(
            engine,
            tokenizer,
            ChatTemplate(CHATML, tokenizer),
            GrammarCompiler(tokenizer, bytes_max=1000, kept_max=4),
        ),
    )
    engine.start()
    config = uvicorn.Config(
        make_app(server), host="127.0.0.1", port=port, log_config=None, lifespan="off"
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--token-seconds", type=float, default=0.01)
    asked = parser.parse_args()
    asyncio.run(serve(asked.port, asked.token_seconds))


if __name__ == "__main__":
    main()
