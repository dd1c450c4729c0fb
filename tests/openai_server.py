"""A real HTTP server on loopback that speaks the chat completions API, with scripted behaviour.

    with OpenAIServer([Status(500), answer_config({"width": 128})]) as server:
        env = {"OPENAI_BASE_URL": server.base_url}
        ...
        assert server.requests[0].model == "some-model"

Each question takes the next reply; the last one repeats. `server.play(...)` changes the script while it runs.
As a program: `python tests/openai_server.py --port 0 --script tune` prints its port on the first line and serves until
it is terminated.
"""

import argparse
import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

# ---------------------------------------------------------------------- replies


@dataclass(frozen=True)
class Say:
    """A completion with this text, as any server would send it."""

    text: str
    prompt_tokens: int = 100
    completion_tokens: int = 20


@dataclass(frozen=True)
class Status:
    """An HTTP error: 401, 429 with {'Retry-After': '2'}, 500."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": {"message": "scripted failure", "type": "scripted"}}'


@dataclass(frozen=True)
class Raw:
    """200 with these bytes instead of a completion."""

    body: bytes
    content_type: str = "application/json"


@dataclass(frozen=True)
class Hang:
    """Accepts the question and never answers."""


@dataclass(frozen=True)
class Cut:
    """Promises a whole answer, sends the first bytes of it and closes the connection."""

    sent_bytes: int = 40


@dataclass(frozen=True)
class Endless:
    """Sends a body with this status until the client goes away."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)


Reply = Say | Status | Raw | Hang | Cut | Endless
Script = Callable[["Question"], Reply]


@dataclass(frozen=True)
class Question:
    """What a client asked."""

    number: int  # from 0
    path: str
    authorization: str | None
    body: dict[str, Any]

    @property
    def model(self) -> str:
        return self.body["model"]

    @property
    def messages(self) -> list[dict[str, str]]:
        return self.body["messages"]

    @property
    def text(self) -> str:
        """Everything the model was told."""
        return "\n".join(m["content"] for m in self.messages)


def answer_config(changes: Mapping[str, Any], title: str = "scripted change", rationale: str = "because") -> Say:
    return Say(json.dumps({"title": title, "rationale": rationale, "kind": "config", "changes": dict(changes)}))


def answer_code(find: str, replace: str, changes: Mapping[str, Any] | None = None, title: str = "scripted edit") -> Say:
    edits = [{"find": find, "replace": replace}]
    return Say(json.dumps({"title": title, "kind": "code", "edits": edits, "changes": dict(changes or {})}))


# ---------------------------------------------------------------------- scripts by name, for the command line


def _tune(question: Question) -> Reply:
    """Another learning rate every time: valid for every space that has one from 1e-4 to 1e-1."""
    return answer_config({"learning_rate": round(1.1e-3 + 1.7e-4 * question.number, 6)}, "another learning rate")


def _code(question: Question) -> Reply:
    """A comment before the __main__ block: an edit that changes the text and not what it does."""
    main = 'if __name__ == "__main__":'
    return answer_code(main, f"# edit {question.number}\n{main}", title="a comment")


def _flaky(question: Question) -> Reply:
    return Status(500) if question.number % 4 < 2 else _tune(question)


SCRIPTS: dict[str, Script] = {
    "tune": _tune,
    "code": _code,
    "flaky": _flaky,
    "babble": lambda _: Say("As a language model I would rather talk about the sea. {not json} " * 20),
    "garbage": lambda _: Raw(b"\x00\xff<html>\x9f not json at all"),
    "401": lambda _: Status(401),
    "429": lambda _: Status(429, {"Retry-After": "1"}),
    "500": lambda _: Status(500),
    "hang": lambda _: Hang(),
    "cut": lambda _: Cut(),
}

# ---------------------------------------------------------------------- server


class OpenAIServer:
    """A context manager; `base_url` is what OPENAI_BASE_URL takes. Serves in threads of its own."""

    def __init__(self, script: Script | Iterable[Reply] | str, port: int = 0, models: Endless | None = None) -> None:
        """`models`: what the question for the list of models gets; None: a list."""
        self.models = models
        self.requests: list[Question] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self.play(script)
        self._http = _Http(("127.0.0.1", port), _Exchange)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def play(self, script: Script | Iterable[Reply] | str) -> None:
        """Behave like this from now on: a name, a function of the question, or replies of which the last repeats."""
        if isinstance(script, str):
            script = SCRIPTS[script]
        if not callable(script):
            replies = list(script)
            assert replies, "a script needs at least one reply"
            remaining = iter(replies)
            script = lambda _: next(remaining, replies[-1])  # noqa: E731
        with self._lock:
            self._script: Script = script

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()  # waits for the threads of open questions
        self._thread.join()

    def take(self, path: str, authorization: str | None, body: dict[str, Any]) -> Reply:
        with self._lock:
            question = Question(len(self.requests), path, authorization, body)
            self.requests.append(question)
            return self._script(question)

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def wait_until_stopped(self) -> None:
        self._stopping.wait()


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    owner: OpenAIServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away is part of the script


class _Exchange(BaseHTTPRequestHandler):
    server: _Http
    timeout = 30  # seconds without a byte

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.close_connection = True
        if not self.path.endswith("/chat/completions"):
            self._send(404, b'{"error": {"message": "no such path"}}')
            return
        reply = self.server.owner.take(self.path, self.headers.get("Authorization"), body)
        match reply:
            case Say():
                self._send(200, _completion(reply, body))
            case Status():
                self._send(reply.code, reply.body, headers=reply.headers)
            case Raw():
                self._send(200, reply.body, reply.content_type)
            case Hang():
                self.server.owner.wait_until_stopped()
            case Endless():
                self._send_endlessly(reply)
            case Cut():
                self._send(200, _completion(Say("x" * 1000), body), sent_bytes=reply.sent_bytes)

    def do_GET(self) -> None:
        if self.server.owner.models is not None:
            self._send_endlessly(self.server.owner.models)
            return
        models = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
        self._send(200 if self.path.endswith("/models") else 404, json.dumps(models).encode())

    def _send(
        self,
        code: int,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        sent_bytes: int | None = None,
    ) -> None:
        self.send_response(code)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[:sent_bytes])

    def _send_endlessly(self, reply: Endless) -> None:
        self.send_response(reply.code)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.owner.stopping:
                self.wfile.write(b"x" * 65536)

    def log_message(self, *_: Any) -> None:
        pass


def _completion(reply: Say, body: Mapping[str, Any]) -> bytes:
    total = reply.prompt_tokens + reply.completion_tokens
    usage = {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": total,
    }
    message = {"role": "assistant", "content": reply.text}
    return json.dumps(
        {
            "id": "chatcmpl-scripted",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": body.get("model", ""),
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": usage,
        }
    ).encode()


class NeverListening:
    """A loopback address where nobody listens, and nobody else can begin to while this is open."""

    def __enter__(self) -> Self:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        self.base_url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted chat completions server on loopback.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--script", choices=sorted(SCRIPTS), default="tune")
    arguments = parser.parse_args()
    with OpenAIServer(arguments.script, arguments.port) as server:
        print(server.port, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.wait_until_stopped()


if __name__ == "__main__":
    main()
