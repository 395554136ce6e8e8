"""The model server as a process: listen at once, load beside it, serve, drain, end.

The address is written as soon as connections are taken, so that whoever started us can watch
`/health` while the model loads. Ready means warm: the first request pays for no first time.
"""

import asyncio
import math
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from tokenyard.engine.catalogue import ModelFile, find_file
from tokenyard.engine.front import Engine
from tokenyard.engine.grammar import GrammarCompiler
from tokenyard.engine.ports import Described, Device, Runner
from tokenyard.engine.server.app import LoadedModel, ModelServer, make_app
from tokenyard.engine.template import ChatTemplate
from tokenyard.engine.tokenizer import Tokenizer
from tokenyard.runtime.clock import Clock
from tokenyard.runtime.engine_settings import EngineSettings
from tokenyard.runtime.randomness import Randomness
from tokenyard.runtime.tasks import TaskSupervisor
from tokenyard.telemetry.logs import Event, Log
from tokenyard.telemetry.metrics import EngineMetrics
from tokenyard.vocabulary.errors import InvalidRequest, StartError

if TYPE_CHECKING:
    from tokenyard.engine.model.checkpoints import Checkpoint
    from tokenyard.engine.model.device_runner import DeviceRunner
    from tokenyard.engine.model.runner import TorchRunner

MODELS_FOLDER = "models"
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
EXIT_FAILED = 1
SPIN_COUNT = "10000"


def serve(
    settings: EngineSettings,
    home: Path,
    *,
    address_file: Path | None,
    exit_with_parent: bool,
    log: Log,
    clock: Clock,
    randomness: Randomness,
) -> int:
    """Run the model server until a stop signal; gives the exit status.

    address_file: gets `http://host:port` once we listen. exit_with_parent: standard input is a
    pipe that the parent holds; when it closes, the parent is gone and we end at once.
    Raises StartError when the model is not there or the port is taken.
    """
    if exit_with_parent:
        threading.Thread(target=_exit_with_parent, name="parent-watch", daemon=True).start()
    model = find_file(settings.model, home / MODELS_FOLDER)
    listener = _listen(settings)
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if address_file is not None:
        _write_whole(address_file, address)
    log.info(Event.STARTED, address=address, model=model.name)
    # uvicorn raises a caught signal again when it is done; this makes that harmless.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    life = _Life(settings, model, log, clock, randomness)
    with asyncio.Runner(loop_factory=life.config.get_loop_factory()) as events:
        status = events.run(life.run(listener))
    if life.loading:
        # The interpreter must not be taken down under a thread that is inside torch.
        os._exit(status)
    return status


_Loaded = tuple[Runner | Device, Tokenizer, ChatTemplate | None]


class _Life:
    """One run of the process."""

    def __init__(
        self,
        settings: EngineSettings,
        model: ModelFile,
        log: Log,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._tasks = TaskSupervisor(log.task_failed)
        self._log = log
        self._status = 0
        # Whether the loading thread may still be busy, even after the end of `run`.
        self.loading = False
        self._shared = ModelServer(
            model=model,
            settings=settings,
            clock=clock,
            randomness=randomness,
            log=log,
            metrics=EngineMetrics(),
            tasks=self._tasks,
        )
        self.config = uvicorn.Config(
            make_app(self._shared),
            loop="uvloop",
            http="httptools",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
            server_header=False,
        )
        self._server = uvicorn.Server(self.config)

    async def run(self, listener: socket.socket) -> int:
        async with self._tasks:
            self._tasks.spawn("load", self._load())
            self._tasks.spawn("stop", self._note_stop())
            await self._server.serve(sockets=[listener])
            if self._shared.loaded is not None:
                await asyncio.to_thread(self._shared.loaded.engine.stop)
        self._log.info(Event.STOPPED, status=self._status)
        return self._status

    async def _load(self) -> None:
        shared = self._shared
        started = shared.clock.monotonic()
        try:
            runner, tokenizer, template = await self._load_beside()
        except StartError as error:
            self._log.error(Event.STOPPING, cause="load", message=error.message)
            self._break_off()
            return
        except Exception:
            self._break_off()
            raise
        engine = Engine(
            runner,
            tokenizer,
            shared.settings,
            clock=shared.clock,
            randomness=shared.randomness,
            log=shared.log,
            metrics=shared.metrics,
            broken=self._break_off,
        )
        engine.start()
        if not await self._load_adapters(engine):
            return
        grammars = GrammarCompiler(
            tokenizer,
            bytes_max=shared.settings.grammar_bytes_max,
            kept_max=shared.settings.grammars_kept_max,
        )
        shared.loaded = LoadedModel(engine, tokenizer, template, grammars)
        self._log.info(
            Event.MODEL_LOADED,
            model=shared.model.name,
            seconds=round(shared.clock.monotonic() - started, 3),
            context_tokens=engine.capacity_tokens,
            kv_blocks=runner.block_count,
            arithmetic=runner.arithmetic if isinstance(runner, Described) else "",
        )

    async def _load_adapters(self, engine: Engine) -> bool:
        """Those of the settings; whether all are there."""
        for given in self._shared.settings.adapters:
            name, _, path = given.partition("=")
            try:
                await engine.adapters.load(name, Path(path), self._shared.clock.now())
            except InvalidRequest as error:
                self._log.error(Event.STOPPING, cause="adapter", message=error.message)
                engine.stop()
                self._break_off()
                return False
        return True

    async def _load_beside(self) -> _Loaded:
        """Load in a daemon thread: a stop signal does not wait for it, as it would for a pool."""
        events = asyncio.get_running_loop()
        loaded: asyncio.Future[_Loaded] = events.create_future()

        def tell(result: _Loaded | Exception) -> None:
            if loaded.cancelled():
                return
            if isinstance(result, Exception):
                loaded.set_exception(result)
            else:
                loaded.set_result(result)

        def load() -> None:
            try:
                result: _Loaded | Exception = load_model(self._shared.model, self._shared.settings)
            except MemoryError:
                result = StartError(
                    f"There is not enough memory for {self._shared.model.path.name}. Take a "
                    "smaller model, or lower engine.kv_cache_bytes."
                )
            except Exception as error:
                # Raised again on the event loop.
                result = error
            # The loop is gone when a signal came first; then nobody waits for the model either.
            with suppress(RuntimeError):
                events.call_soon_threadsafe(tell, result)

        threading.Thread(target=load, name="load-model", daemon=True).start()
        self.loading = True
        result = await loaded
        self.loading = False
        return result

    async def _note_stop(self) -> None:
        """Tell `/health` as soon as a stop signal has come."""
        while not self._server.should_exit:
            await self._shared.clock.sleep(0.1)
        self._shared.stopping = True
        self._log.info(Event.STOPPING)
        if self._shared.loaded is not None:
            await self._shared.loaded.engine.drain()

    def _break_off(self) -> None:
        self._status = EXIT_FAILED
        self._server.should_exit = True


def load_model(model: ModelFile, settings: EngineSettings) -> _Loaded:
    """Read the checkpoint and warm the model up; blocks for seconds. Raises StartError."""
    # The OpenMP of torch spins at each barrier. On cores that others use too, a thread that spins
    # keeps away the one it waits for: with a load of four per core a step took 1.2 to 5 s, and
    # 0.1 to 0.3 s with this. It has to be set before torch is imported.
    # tidy: allow banned-call: OpenMP reads this variable and nothing else.
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    # Only here: torch takes a second to import, and the port is open by now.
    from tokenyard.engine.model.checkpoints import open_checkpoint  # noqa: PLC0415

    with open_checkpoint(model.path) as file:
        tokenizer = Tokenizer(file.metadata)
        source = file.metadata.get("tokenizer.chat_template")
        template = None
        if isinstance(source, str):
            template = ChatTemplate(
                source,
                tokenizer,
                characters_max=settings.template_characters_max,
                lines_max=settings.template_lines_max,
            )
        runner = _load_runner(file, settings)
    if tokenizer.vocabulary_size < runner.vocabulary_size:
        raise StartError(
            f"{model.path.name} can say {runner.vocabulary_size} tokens, but its tokenizer has "
            f"only {tokenizer.vocabulary_size}."
        )
    runner.warm_up()
    return runner, tokenizer, template


def _load_runner(file: "Checkpoint", settings: EngineSettings) -> "TorchRunner | DeviceRunner":
    if settings.device == "cuda":
        # Only here: the CPU's start need not read what it does not use.
        from tokenyard.engine.model.device_loading import load_on_gpu  # noqa: PLC0415

        return load_on_gpu(
            file,
            memory_share=settings.gpu_memory_share,
            block_tokens=settings.block_tokens,
            step_tokens_max=settings.step_tokens_max,
            sequences_max=settings.sequences_max,
        )
    from tokenyard.engine.model.runner import TorchRunner  # noqa: PLC0415

    return TorchRunner(
        file,
        weights=settings.weights,
        threads=settings.threads,
        kv_cache_bytes=settings.kv_cache_bytes,
        block_tokens=settings.block_tokens,
        kv_format=settings.kv_format,
        kernels=settings.kernels,
    )


def _listen(settings: EngineSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"The model server cannot listen on {settings.host}:{settings.port}: "
            f"{error.strerror}. Set engine.port to another one, or to 0 for a free one."
        ) from None
    return listener


def _write_whole(path: Path, text: str) -> None:
    """Readers see the whole text or no file."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    partial.replace(path)


def _exit_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(EXIT_FAILED)
