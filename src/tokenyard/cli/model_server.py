"""`tokenyard engine`: one model server, of the kind that the settings choose.

Imports nothing of the gateway or its stores: a model server would load and keep them for nothing.
"""

from pathlib import Path
from typing import assert_never

from tokenyard.cli.checkpoints import MODELS_FOLDER
from tokenyard.fleet.engines import command, llamacpp
from tokenyard.fleet.engines.choice import EngineKind
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.randomness import SystemRandomness
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import bridge_library_logs, open_log


def serve_engine(
    settings: Settings, home: Path, address_file: Path | None, *, exit_with_parent: bool
) -> int:
    """Run the model server until a stop signal; returns the exit status."""
    clock = RealClock()
    log = open_log(clock, settings.logs.level)
    bridge_library_logs(log)
    match EngineKind(settings.engine.kind):
        case EngineKind.OWN:
            # Only here: the others run where its packages are not installed.
            from tokenyard.engine.server import serve

            return serve(
                settings.engine,
                home,
                address_file=address_file,
                exit_with_parent=exit_with_parent,
                log=log,
                clock=clock,
                randomness=SystemRandomness(),
            )
        case EngineKind.LLAMACPP:
            return llamacpp.serve(
                settings.engine,
                home / MODELS_FOLDER,
                address_file=address_file,
                exit_with_parent=exit_with_parent,
                log=log,
                clock=clock,
            )
        case EngineKind.VLLM:
            return command.serve(
                settings.engine,
                address_file=address_file,
                exit_with_parent=exit_with_parent,
                log=log,
                clock=clock,
            )
        case kind:
            assert_never(kind)
