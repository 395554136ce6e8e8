"""A model server that is not ours: `python other_server.py --model M --port P [--key K]`.

It speaks as vLLM does (counts with every event when asked, `max_model_len`), loads for a moment
before it listens, and starts a worker that ignores polite signals, so that a test can see whether
everything is taken down. Only the standard library: it stands for a program that knows nothing of
Tokenyard.
"""

import argparse
import json
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WORDS = ("One", " two", " three", ".")
PROMPT_TOKENS = 9
WORKER = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"


def usage(said: int) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": said,
        "total_tokens": PROMPT_TOKENS + said,
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    model = ""
    key = ""

    def do_GET(self) -> None:
        if self.path == "/health" and not self.key:
            self._answer(200, {})
        elif self.path == "/v1/models" and self._may():
            entry = {"id": self.model, "object": "model", "max_model_len": 4096}
            self._answer(200, {"object": "list", "data": [entry, {**entry, "id": "another"}]})
        else:
            self._refuse()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path != "/v1/chat/completions" or not self._may():
            self._refuse()
        elif body["model"] != self.model:
            self._answer(404, {"error": {"message": "no such model", "code": 404}})
        elif body.get("stream"):
            self._stream(body)
        else:
            message = {"role": "assistant", "content": "".join(WORDS)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            answer = {"id": "1", "object": "chat.completion", "created": 1, "model": self.model}
            self._answer(200, {**answer, "choices": [choice], "usage": usage(len(WORDS))})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the log would hold every question for health."""

    def _stream(self, body: dict[str, Any]) -> None:
        options = body.get("stream_options") or {}
        head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": self.model}
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for number, word in enumerate(WORDS, 1):
            finish = "stop" if number == len(WORDS) else None
            choice = {"index": 0, "delta": {"content": word}, "finish_reason": finish}
            counts = {"usage": usage(number)} if options.get("continuous_usage_stats") else {}
            self._event(json.dumps({**head, "choices": [choice], **counts}))
        if options.get("include_usage"):
            self._event(json.dumps({**head, "choices": [], "usage": usage(len(WORDS))}))
        self._event("[DONE]")
        self.close_connection = True

    def _event(self, data: str) -> None:
        self.wfile.write(f"data: {data}\n\n".encode())
        self.wfile.flush()

    def _may(self) -> bool:
        return not self.key or self.headers["authorization"] == f"Bearer {self.key}"

    def _refuse(self) -> None:
        if self._may():
            self._answer(404, {"detail": "Not Found"})
        else:
            self._answer(401, {"error": {"message": f"wrong key, it is not {self.key}"}})

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    """Takes many connections; threads end with the process."""

    daemon_threads = True


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", default="")
    asked = parser.parse_args()
    Handler.model, Handler.key = asked.model, asked.key
    subprocess.Popen([sys.executable, "-c", WORKER], stdin=subprocess.DEVNULL)
    time.sleep(0.2)
    Server(("127.0.0.1", asked.port), Handler).serve_forever()


if __name__ == "__main__":
    main()
