"""The running node's door for programs of its owner: a socket in the home through which they reach peers by git.

Owns the socket's place and what is said on it: one line of JSON, one line back, then, for a pipe, git's own protocol.
`git-remote-swarm` and `swarm fetch` come in here. Only who may read the home can.
"""

import contextlib
import json
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import trio

from gossip.bus import BlobAbsent, PeerUnreachable
from gossip.pipe import Limits
from gossip.refusal import GossipError
from node.branches.serving import Serving
from node.branches.words import Owned
from node.home import Home
from swarm.words import SwarmError

NAME = "door.sock"
MAX_LINE_BYTES = 16 * 1024
MAX_CALLERS = 8
PIPE_LIMITS = Limits(bytes_in=64 << 30)  # a person's own git keeps it where the person said
Json = dict[str, Any]  # Any: a JSON document
Join = Callable[[str, Sequence[str], trio.abc.HalfCloseableStream, Limits], Awaitable[int]]


class DoorError(SwarmError):
    """What was asked of the running node cannot be done; the message is its answer."""


class Door:
    """`peers`: whom to ask, connected ones of the topic. `fetch`: what `swarm fetch` asks for."""

    def __init__(
        self,
        home: Home,
        topic: str,
        serving: Serving,
        peers: Callable[[], Sequence[str]],
        join: Join,
        fetch: Callable[[str], Awaitable[Json]],
    ) -> None:
        self._home, self._topic, self._serving = home, topic, serving
        self._peers, self._join, self._fetch = peers, join, fetch
        self._callers = trio.CapacityLimiter(MAX_CALLERS)

    async def run(self) -> None:
        with _place(self._home) as place:
            with contextlib.suppress(OSError):
                os.unlink(place)
            listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await listening.bind(place)
            os.chmod(place, 0o600)
        listening.listen(16)
        try:
            await trio.serve_listeners(self._answer, [trio.SocketListener(listening)])
        finally:
            with _place(self._home) as place, contextlib.suppress(OSError):
                os.unlink(place)

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            async with stream, self._callers:
                try:
                    await self._do(json.loads(await read_line(stream)), stream)
                except (SwarmError, GossipError, OSError) as error:
                    await _say(stream, {"ok": False, "why": str(error)})
                except (ValueError, KeyError, TypeError):
                    await _say(stream, {"ok": False, "why": "not a request that this version knows"})
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the caller has gone

    async def _do(self, request: Json, stream: trio.SocketStream) -> None:
        if request["topic"] not in ("", self._topic):
            raise DoorError(f"the node in {self._home.path} works on topic {self._topic}, not on {request['topic']!r}")
        if request["do"] == "fetch":
            await _say(stream, {"ok": True, "result": await self._fetch(str(request["peer"]))})
        elif request["do"] == "pipe":
            await self._pipe([str(peer) for peer in request["from"]], str(request["peer"]), stream)
        else:
            raise ValueError(request["do"])

    async def _pipe(self, sources: list[str], peer: str, stream: trio.SocketStream) -> None:
        """The branch of `peer` ("": all, and those of the first who answers in front), from whoever has it."""
        names = [Owned(peer, self._topic).branch] if peer else []
        connected = [*self._peers()]
        wanted = [one for one in (*sources, peer) if one in connected]
        why: list[str] = []
        for source in dict.fromkeys([*wanted, *connected]):
            answering = _Answering(stream)
            try:
                await self._join(source, names, answering, PIPE_LIMITS)
                return
            except (BlobAbsent, PeerUnreachable) as error:
                if answering.said:
                    raise
                why.append(str(error))
        opened = await self._serving.open(names)
        if opened is None:
            asked = "; ".join(why[:3]) or "no peer is connected"
            raise DoorError(f"nobody here has {names[0] if names else 'branches of this topic'} ({asked})")
        async with opened as local:
            await copy_both(local, _Answering(stream))


class _Answering(trio.abc.HalfCloseableStream):
    """The caller's stream. What it is sent first is that it has come through; it says nothing before."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream, self.said = stream, False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if not self.said:
            self.said = True
            await _say(self._stream, {"ok": True})
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._stream.aclose()


# --- the caller's side ---


@asynccontextmanager
async def through_the_door(home: Home, request: Json) -> AsyncGenerator[tuple[Json, trio.SocketStream]]:
    """The node's answer, and the stream that follows it. Raises DoorError with what it says."""
    stream = await _connect(home)
    async with stream:
        await stream.send_all(json.dumps(request).encode() + b"\n")
        try:
            answer = cast("Json", json.loads(await read_line(stream)))
        except ValueError:
            raise DoorError(f"the node in {home.path} broke off; is it stopping?") from None
        if not answer.get("ok"):
            raise DoorError(str(answer.get("why")))
        yield answer, stream


async def _connect(home: Home) -> trio.SocketStream:
    caller = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _place(home) as place:
            await caller.connect(place)
    except OSError:
        caller.close()
        raise DoorError(
            f"the node in {home.path} cannot be reached: it is just starting, or is of an older version; try again"
        ) from None
    return trio.SocketStream(caller)


async def read_line(stream: trio.abc.ReceiveStream) -> bytes:
    """Byte by byte: what follows the line is git's. Raises ValueError if there is none."""
    line = bytearray()
    while len(line) < MAX_LINE_BYTES:
        byte = await stream.receive_some(1)
        if byte == b"\n":
            return bytes(line)
        if not byte:
            break
        line += byte
    raise ValueError("no line")


async def copy_both(one: trio.abc.HalfCloseableStream, other: trio.abc.HalfCloseableStream) -> None:
    """Until both have ended."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, one, other)
        nursery.start_soon(_copy, other, one)


async def _copy(source: trio.abc.HalfCloseableStream, target: trio.abc.HalfCloseableStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while piece := await source.receive_some(1 << 18):
            await target.send_all(piece)
        await target.send_eof()


async def _say(stream: trio.SocketStream, answer: Json) -> None:
    await stream.send_all(json.dumps(answer).encode() + b"\n")


@contextlib.contextmanager
def _place(home: Home) -> Generator[str]:
    """The socket's path, short whatever the home's: a socket's may have 107 bytes."""
    folder = os.open(home.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{NAME}"
    finally:
        os.close(folder)
