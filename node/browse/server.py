"""Serves the page over HTTP: listens, and speaks HTTP with hypercorn's help once somebody comes.

Nobody pays for a page that nobody looks at: the web stack is imported when the first connection waits. Connections are
bounded in number, in time and in how long they may refuse to take what they asked for, and each ends with the node: the
accept loop is our own because hypercorn's has no such bounds (a client that reads nothing would keep its node from
stopping: it sends inside a shield).
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import trio

from node.browse.address import BrowseError, PageAddress, listen, port_of, remembered_port
from node.browse.token_file import page_token
from node.events import Events
from node.home import Home

MAX_CONNECTIONS = 64  # at one time; the next are closed unheard
CONNECTION_SECONDS = 900.0
SEND_SECONDS = 10.0  # that one piece of an answer may wait for its reader
IDLE_SECONDS = 20.0


class PageServer:
    def __init__(self, home: Home, address: PageAddress, token: str | None, remembered: int | None = None) -> None:
        """Listens at once. Raises BrowseError. `token`: what it takes to see the page, None for nothing."""
        self._home = home
        self._address = address
        self._token = token
        self._listener = listen(address, remembered)
        self._open: set[trio.SocketStream] = set()

    @property
    def url(self) -> str:
        return self._address.url(port_of(self._listener))

    @property
    def url_with_token(self) -> str:
        return f"{self.url}?token={self._token}" if self._token else self.url

    @property
    def open_connections(self) -> int:
        return len(self._open)

    async def run(self) -> None:
        """Until cancelled. Nothing that a connection does ends it."""
        try:
            await trio.lowlevel.wait_readable(self._listener.socket)
            serve = self._make_serve()
            async with trio.open_nursery() as nursery:

                async def welcome(stream: trio.SocketStream) -> None:
                    await self._welcome(stream, serve)

                await trio.serve_listeners(welcome, [self._listener], handler_nursery=nursery)
        finally:
            self.close()

    def close(self) -> None:
        """At once, also for who takes nothing of what is being sent."""
        self._listener.socket.close()
        for stream in self._open:
            stream.socket.close()

    def _make_serve(self) -> "Serve":
        from hypercorn.app_wrappers import ASGIWrapper
        from hypercorn.config import Config
        from hypercorn.trio.tcp_server import TCPServer
        from hypercorn.trio.worker_context import WorkerContext
        from hypercorn.typing import ConnectionState

        from node.browse.desk import Desk
        from node.browse.gate import Admission
        from node.browse.routes import make_app

        config = Config()
        config.keep_alive_timeout = IDLE_SECONDS
        config.h2_max_concurrent_streams = 8
        config.errorlog = None  # nothing of a stranger's request is printed
        config.include_server_header = False
        exposed = not self._address.is_loopback
        app: Any = make_app(Desk(self._home), Admission(exposed, self._token))  # hypercorn's own types of an app differ
        wrapped, context = ASGIWrapper(app), WorkerContext(None)

        async def serve(stream: "BoundedStream") -> None:
            connection: Any = stream  # has what TCPServer uses of a trio stream
            await TCPServer(wrapped, config, context, ConnectionState({}), connection)

        return serve

    async def _welcome(self, stream: trio.SocketStream, serve: "Serve") -> None:
        """Never raises for what comes over the stream."""
        if len(self._open) >= MAX_CONNECTIONS:
            await trio.aclose_forcefully(stream)
            return
        self._open.add(stream)
        try:
            with trio.move_on_after(CONNECTION_SECONDS) as scope:
                await serve(BoundedStream(stream, scope.cancel))
        except* Exception:
            pass
        finally:
            self._open.discard(stream)
            stream.socket.close()


class BoundedStream:
    """A stream whose reader has so long to take each piece; then it is closed. Who hangs up is gone at once: hypercorn
    would keep the place until the connection has been idle for long enough."""

    def __init__(self, stream: trio.SocketStream, gone: Callable[[], None]) -> None:
        self._stream = stream
        self._gone = gone
        self.socket = stream.socket

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        found = await self._stream.receive_some(max_bytes)
        if not found:
            self._gone()
        return found

    async def send_all(self, data: bytes) -> None:
        with trio.move_on_after(SEND_SECONDS) as scope:
            await self._stream.send_all(data)
        if scope.cancelled_caught:
            self._stream.socket.close()
            raise trio.BrokenResourceError("took nothing for too long")

    async def send_eof(self) -> None:
        with suppress(trio.BusyResourceError):
            await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


Serve = Callable[[BoundedStream], Awaitable[None]]


def open_page(home: Home, address: PageAddress | None, events: Events) -> PageServer | None:
    """The page of a node, if one is wanted. What keeps it from being served is said once, and costs nothing else."""
    if address is None:
        return None
    try:
        token, remembered = page_token(home, address), remembered_port(home.read_state().get("dashboard"))
        server = PageServer(home, address, token, remembered)
    except BrowseError as error:
        events.notice(str(error), warning=True)
        return None
    if token is not None:
        events.notice("the page asks for its token: swarm browse prints an address that has it")
    return server
