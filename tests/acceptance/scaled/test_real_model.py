"""The scaled form with the real model: an answer goes on at the other server, word for word."""

import os
import signal

import openai

from acceptance.conftest import YardMaker
from acceptance.yard import MODEL, Yard

ASK = "Tell me how bread is made."
TOKENS = 80


def busy_engine(yard: Yard) -> int:
    """The process id of the model server that writes an answer now."""
    for number in range(2):
        address = (yard.home / "run" / f"engine-{number}.address").read_text().strip()
        told = yard.request("GET", "/metrics", signed=False, base=address).body.decode()
        if "\ntokenyard_engine_num_requests_running 1" in told:
            (pid,) = [
                pid
                for pid, command in yard.processes().items()
                if command.endswith(f"engine-{number}.address")
            ]
            return pid
    raise AssertionError("no model server is busy")


def test_an_answer_goes_on_at_the_other_model_server(make_yard: YardMaker) -> None:
    yard = make_yard("--replicas", "2", "--engines", "2")
    base = f"{yard.url}/v1"
    with openai.OpenAI(base_url=base, api_key=yard.api_key, max_retries=2, timeout=120) as client:

        def ask() -> tuple[str, str, int]:
            """The answer's text, how it ended, and its events before the first server died."""
            text, ended, killed_at = "", "", 0
            with client.responses.create(
                model=MODEL, input=ASK, temperature=0, max_output_tokens=TOKENS, stream=True
            ) as stream:
                for number, event in enumerate(stream):
                    if event.type == "response.output_text.delta":
                        text += event.delta
                        if kill and not killed_at and len(text) > 60:
                            os.kill(busy_engine(yard), signal.SIGKILL)
                            killed_at = number
                    elif event.type in {"response.completed", "response.incomplete"}:
                        ended = event.type
            return text, ended, killed_at

        kill = False
        whole, ended, _ = ask()
        assert len(whole) > 100
        kill = True
        again, ended_again, killed_at = ask()
        assert killed_at
        assert (again, ended_again) == (whole, ended)
    yard.interrupt()
    assert yard.wait_for_end() == 0
    assert not yard.processes()
