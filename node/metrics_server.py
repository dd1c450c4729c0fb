"""Answers GET /metrics over HTTP for a Prometheus that scrapes. h11 speaks HTTP; what is answered is made elsewhere.

Bounded whoever comes: so many connections at one time, so many bytes and seconds of a request, one answer and the
connection ends. Nothing that a connection does ends the node. No encryption and no password: it listens on loopback
unless a person names another address.
"""

from collections.abc import Callable
from dataclasses import dataclass

import h11
import trio

from swarm.words import SwarmError

MAX_CONNECTIONS = 8  # at one time; the next are closed unheard
MAX_REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0  # to send it and to take the answer
_READ_BYTES = 4096
_LINGER_SECONDS = 0.5  # after an answer to a request that was not read to its end


class MetricsError(SwarmError):
    """The address for metrics cannot be used."""


@dataclass(frozen=True)
class MetricsAddress:
    host: str
    port: int  # 0: any

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class MetricsServer:
    def __init__(self, address: MetricsAddress, content: Callable[[], tuple[str, bytes]]) -> None:
        """`content`: the type and the bytes of what is answered."""
        self._address = address
        self._content = content
        self._open = 0

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; `started` is given the port. Raises MetricsError if the address cannot be used."""
        try:
            listeners = await trio.open_tcp_listeners(self._address.port, host=self._address.host, backlog=16)
        except OSError as error:
            why = error.strerror or str(error)
            raise MetricsError(f"--metrics-port {self._address}: {why}; choose another port") from None
        task_status.started(int(listeners[0].socket.getsockname()[1]))
        await trio.serve_listeners(self._welcome, listeners)

    async def _welcome(self, stream: trio.SocketStream) -> None:
        """Never raises for what comes over the stream."""
        async with stream:
            if self._open >= MAX_CONNECTIONS:
                return
            self._open += 1
            try:
                with trio.move_on_after(REQUEST_SECONDS):
                    await self._answer(stream)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            finally:
                self._open -= 1

    async def _answer(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        request = None
        try:
            request = await _request(connection, stream)
        except h11.RemoteProtocolError as error:
            reply = _Reply(error.error_status_hint, b"not a request that is understood here\n")
        else:
            if request is None:
                return
            reply = self._reply(request)
        headers = [("Content-Type", reply.kind), ("Content-Length", str(len(reply.body))), ("Connection", "close")]
        if reply.status == 405:
            headers.append(("Allow", "GET, HEAD"))
        parts: list[h11.Event] = [h11.Response(status_code=reply.status, headers=headers)]
        head_only = request is not None and request.method == b"HEAD"
        parts += [h11.EndOfMessage()] if head_only else [h11.Data(data=reply.body), h11.EndOfMessage()]
        await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))
        await _say_goodbye(stream)

    def _reply(self, request: h11.Request) -> "_Reply":
        if request.target.split(b"?")[0] != b"/metrics":
            return _Reply(404, b"only /metrics is here\n")
        if request.method not in (b"GET", b"HEAD"):
            return _Reply(405, b"only to be read\n")
        try:
            kind, body = self._content()
        except Exception:  # what only looks on must not end a night's research, whatever is wrong in it
            return _Reply(500, b"the metrics cannot be made: a bug\n")
        return _Reply(200, body, kind)


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


async def _request(connection: h11.Connection, stream: trio.SocketStream) -> h11.Request | None:
    """None: whoever connected has gone. What comes after the head is not read. Raises RemoteProtocolError."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        connection.receive_data(await stream.receive_some(_READ_BYTES))


async def _say_goodbye(stream: trio.SocketStream) -> None:
    """A close with unread bytes would be a reset, which can overtake the answer."""
    await stream.send_eof()
    with trio.move_on_after(_LINGER_SECONDS):
        while await stream.receive_some(_READ_BYTES):
            pass
