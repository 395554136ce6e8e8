"""`tokenyard up` and `tokenyard gateway`: start, say what is there, stay, and stop in order."""

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click
import msgspec

from tokenyard import __version__
from tokenyard.assembly import Yard, open_gateway, open_scaled_yard, open_yard
from tokenyard.cli.checkpoints import MODELS_FOLDER
from tokenyard.fleet.engines.choice import check_startable
from tokenyard.fleet.engines.contract import hold_lifeline
from tokenyard.gateway.keys import KeyTerms, command_line
from tokenyard.gateway.server import run
from tokenyard.runtime import garbage
from tokenyard.runtime.clock import RealClock
from tokenyard.runtime.lifecycle import StopSignal, hold_home
from tokenyard.runtime.settings import Settings
from tokenyard.telemetry.logs import bridge_library_logs, open_log_file
from tokenyard.vocabulary.errors import StartError
from tokenyard.vocabulary.identity import DEFAULT_PROJECT, EVERYTHING

START_KEY_NAME = "printed by tokenyard up"
_LOG_NAME = "gateway.log"
_DEATHS_MAX = 3
_TAIL_LINES = 12
_POLL_SECONDS = 0.1


def serve_all(
    settings: Settings, home: Path, ready_file: Path | None, environment: Mapping[str, str]
) -> int:
    """Run the platform until a stop signal; returns the exit status.

    environment: holds the keys of model servers that the settings name.
    """
    clock = RealClock()
    with hold_home(home):
        if settings.fleet.engines:
            # Asked here too, so that what is missing is told before anything is started.
            check_startable(settings.engine, home / MODELS_FOLDER)
        log_path = home / "run" / _LOG_NAME
        with open_log_file(log_path, clock, settings.logs) as log:
            bridge_library_logs(log)
            opening = open_scaled_yard if settings.fleet.gateways > 1 else open_yard

            async def main() -> None:
                stop = StopSignal()
                stop.listen()
                began = clock.monotonic()
                async with opening(settings, home, log, environment) as yard:
                    garbage.settle()
                    click.echo(f"Tokenyard {__version__}: {_loading(settings, yard)} …")
                    if await _ready_or_stopped(yard, stop):
                        seconds = clock.monotonic() - began
                        await _announce(yard, settings, seconds, ready_file, log_path)
                    await stop.wait()
                    click.echo("\nStopping: running answers may finish. Ctrl-C again ends at once.")

            run(main())
    click.echo("Stopped.")
    return 0


def serve_gateway(
    settings: Settings,
    home: Path,
    name: str,
    *,
    host: str,
    port: int,
    environment: Mapping[str, str],
) -> int:
    """Run one gateway beside others until a stop signal, or until the supervisor is gone."""
    clock = RealClock()
    bound = msgspec.structs.replace(settings.gateway, host=host, port=port)
    with open_log_file(home / "run" / f"{name}.events.log", clock, settings.logs) as log:
        bridge_library_logs(log)

        async def main() -> None:
            stop = StopSignal()
            stop.listen()
            hold_lifeline(partial(os.kill, os.getpid(), signal.SIGTERM))
            async with open_gateway(settings, home, log, environment, bound):
                garbage.settle()
                await stop.wait()

        run(main())
    return 0


def _loading(settings: Settings, yard: Yard) -> str:
    if not settings.fleet.engines:
        return "waiting for a model server of upstreams.servers"
    return f"loading {yard.model} with the {settings.engine.kind} engine"


async def _ready_or_stopped(yard: Yard, stop: StopSignal) -> bool:
    """True once all is ready; raises StartError when a model server cannot be brought up."""
    while not stop.is_set:
        if await yard.is_ready():
            return True
        for replica in yard.replicas:
            if replica.deaths >= _DEATHS_MAX:
                raise StartError(
                    f"The model server {replica.name} died {replica.deaths} times while starting. "
                    f"The end of its log ({replica.log_path}):\n{_tail(replica.log_path)}"
                )
        await yard.clock.sleep(_POLL_SECONDS)
    return False


async def _announce(
    yard: Yard, settings: Settings, seconds: float, ready_file: Path | None, log_path: Path
) -> None:
    token = await yard.identity.sessions.create_link_token()
    link = f"{yard.url}/sign-in?token={token}"
    key = await _new_start_key(yard)
    banner = _banner(yard, link, key, settings=settings, seconds=seconds, log_path=log_path)
    click.echo(banner)
    if ready_file is not None:
        told = {
            "url": yard.url,
            "sign_in_link": link,
            "api_key": key,
            "pid": os.getpid(),
            "gateways": [door.url for door in yard.doors],
        }
        partial = ready_file.with_name(f"{ready_file.name}.partial")
        await asyncio.to_thread(_write_private, partial, json.dumps(told))
        partial.replace(ready_file)


async def _new_start_key(yard: Yard) -> str:
    """A key for trying out; it replaces the one that the start before this one printed."""
    keys, owner = yard.identity.keys, command_line(DEFAULT_PROJECT)
    for old in await keys.list(DEFAULT_PROJECT):
        if old.name == START_KEY_NAME and old.revoked_at is None:
            await keys.revoke(owner, old.id)
    secret, _ = await keys.create(owner, KeyTerms(START_KEY_NAME, scopes=(EVERYTHING,)))
    return secret


def _banner(
    yard: Yard, link: str, key: str, *, settings: Settings, seconds: float, log_path: Path
) -> str:
    url = yard.url
    model = yard.model or next((model.id for model in yard.pool.models()), "MODEL")
    minutes = settings.identity.sign_in_link_seconds / 60
    return f"""
Ready after {seconds:.1f} s.

  Page      {url}
  Sign in   {link}
            works once, within {minutes:.0f} minutes; `tokenyard sign-in-link` prints another
  API key   {key}
            for trying out: the next start replaces it; `tokenyard keys create --name NAME`
            makes one that stays
  API docs  {url}/docs

With curl:

  curl {url}/v1/chat/completions \\
    -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\
    -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "Say hello."}}]}}'

With Python (pip install openai):

  from openai import OpenAI
  client = OpenAI(base_url="{url}/v1", api_key="{key}")
  messages = [{{"role": "user", "content": "Say hello."}}]
  for chunk in client.chat.completions.create(model="{model}", messages=messages, stream=True):
      print(chunk.choices[0].delta.content or "", end="", flush=True)

{_doors_line(yard)}Logs: {log_path.parent}   Stop: Ctrl-C
"""


def _doors_line(yard: Yard) -> str:
    """Where the gateways are; whoever has no nginx spreads clients over them by hand."""
    if not yard.doors:
        return ""
    return f"Gateways: {' '.join(door.url for door in yard.doors)}\n"


def _tail(path: Path) -> str:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return "  (there is none)"
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)
