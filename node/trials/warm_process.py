"""The process that trials are forked from: started, watched, restarted, asked to run scripts.

Owns the socket to `experiments/warm.py` and the life of everything that process forks. Knows nothing of training.
When the node dies in whatever way, the socket closes, and the warm process kills its children and leaves.
"""

import array
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import trio

from node.sandbox.confinement import Confinement
from node.sandbox.policy import Backend
from node.sandbox.spec import Access
from node.sandbox.watch import POLL_SECONDS, BrokenLimit, broken, look, outer_pid
from swarm.words import SwarmError

MAX_FAILED_STARTS = 3
RESTART_SECONDS = 0.2  # between the loss of a warm process and the next
END_SECONDS = 1.5  # for it to leave by itself; it takes milliseconds
KILL_SECONDS = 1.0  # for a killed script to be reported as ended
DRAIN_SECONDS = 0.5  # for output still in the pipe after the end


class TrainerError(SwarmError):
    """Nothing can be trained on this machine as it is."""


@dataclass(frozen=True)
class Ended:
    """How a script ended. `status`: exit status, or minus a signal, or None when the warm process was lost with it."""

    status: int | None
    peak_memory_bytes: int = 0
    broken: BrokenLimit | None = None  # it was killed for this


@dataclass
class _Running:
    ended: trio.Event = field(default_factory=trio.Event)
    end: Ended | None = None
    pid: int | None = None  # as we see it
    output_bytes: int = 0
    broken: BrokenLimit | None = None


class WarmProcess:
    def __init__(
        self,
        script: Path,
        environment: Mapping[str, str],
        log: Path,
        confinement: Confinement,
        read: Sequence[Path],  # all that any of its scripts may read, besides this system's libraries
        write: Path,  # the folder in which every script's files lie
    ) -> None:
        self._script, self._environment, self._log = script, dict(environment), log
        self._confinement, self._read, self._write = confinement, (script.parent, *read), write
        self._group: int | None = None  # leader of the group it runs in: itself, or its launcher
        self._socket: trio.socket.SocketType | None = None
        self._sending = trio.Lock()
        self._ready = trio.Event()
        self._came_up = False  # the present one, once
        self._running: dict[int, _Running] = {}
        self._ids = itertools.count(1)
        self._failure = ""
        self.pid: int | None = None  # while it is ready

    async def run(self) -> None:
        """Keep one warm process alive. Raises TrainerError when it will not start."""
        failed = 0
        while True:
            self._failure = ""
            was_ready = await self._live()
            failed = 0 if was_ready else failed + 1
            if failed == MAX_FAILED_STARTS:
                reason = self._failure or f"it ended at once, see {self._log}"
                raise TrainerError(f"the training process does not start: {reason}; run `swarm doctor`")
            await trio.sleep(RESTART_SECONDS)

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def execute(
        self,
        argv: Sequence[str],
        cwd: Path,
        on_output: Callable[[bytes], None],
        access: Access,
        descriptors: Sequence[int] = (),
    ) -> Ended:
        """Run a Python script to its end. Cancelled, it is killed first. Gets copies of `descriptors` as 3, 4, ..."""
        running, id = _Running(), next(self._ids)
        read_end, write_end = os.pipe()
        async with trio.lowlevel.FdStream(read_end) as output:
            self._running[id] = running
            try:
                await self._hand_over(id, argv, cwd, write_end, descriptors, access)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_pump, output, on_output, running)
                    nursery.start_soon(self._watch, id, running, access.scratch or cwd)
                    await running.ended.wait()
                    nursery.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
            finally:
                await self._kill(id, running)
                del self._running[id]
        assert running.end is not None
        return replace(running.end, broken=running.broken)

    async def _watch(self, id: int, running: _Running, scratch: Path) -> None:
        """Until it ends, or a limit is broken that the kernel does not hold."""
        limits = self._confinement.limits
        while True:
            with trio.move_on_after(POLL_SECONDS):
                await running.ended.wait()
                return
            if self.pid is not None:
                running.broken = broken(look(self.pid, scratch, limits, running.output_bytes), limits)
            if running.broken is not None:
                await self._kill(id, running)
                return

    async def _hand_over(
        self, id: int, argv: Sequence[str], cwd: Path, output: int, descriptors: Sequence[int], access: Access
    ) -> None:
        try:
            access = replace(access, descriptors=tuple(range(3, 3 + len(descriptors))))
            request: dict[str, object] = {"id": id, "argv": list(argv), "cwd": str(cwd), "extra": len(descriptors)}
            request["confine"] = self._confinement.request(access)
            await self._send(request, (output, *descriptors))
        except (OSError, trio.ClosedResourceError):
            self._end(id, Ended(status=None))
        finally:
            os.close(output)

    async def _kill(self, id: int, running: _Running) -> None:
        if running.ended.is_set():
            return
        with trio.move_on_after(KILL_SECONDS) as scope:
            scope.shield = True
            with suppress(OSError, trio.ClosedResourceError):
                await self._send({"kill": id})
            await running.ended.wait()
        if not running.ended.is_set():
            await self._replace(running)

    async def _replace(self, running: _Running) -> None:
        """The warm process does not answer any more: no later script would end either. `run` starts another. Or the
        machine is so busy that it only seems so: whoever has more to run waits for the next one."""
        self._unready()
        _kill_group(running.pid)
        _kill_group(self._group)
        with trio.move_on_after(KILL_SECONDS) as scope:
            scope.shield = True
            await running.ended.wait()  # by `_finish`: from then on nobody takes it for ready

    async def _send(self, request: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        line = json.dumps(request).encode() + b"\n"
        rights = array.array("i", descriptors).tobytes()
        async with self._sending:
            if self._socket is None:
                raise trio.ClosedResourceError
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
            sent = await self._socket.sendmsg([line], ancillary)
            while sent < len(line):
                sent += await self._socket.send(line[sent:])

    async def _live(self) -> bool:
        """One warm process from start to end; whether it became ready."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                process = await self._start(theirs)
            if process is None:
                return False
            self._socket, self._group, self._came_up = trio.socket.from_stdlib_socket(ours), process.pid, False
            try:
                await self._listen(self._socket)
            finally:
                self._unready()
                with trio.move_on_after(2 * END_SECONDS) as scope:
                    scope.shield = True
                    await self._finish(process, self._came_up)
        return self._came_up

    def _unready(self) -> None:
        if self._ready.is_set():  # else somebody may be waiting for this very event
            self._ready = trio.Event()

    async def _start(self, theirs: socket.socket) -> trio.Process | None:
        launcher = self._confinement.launcher(self._read, (self._write,))
        command = [*launcher, sys.executable, "-I", str(self._script), str(theirs.fileno())]
        try:
            with self._log.open("wb") as log:
                return await trio.lowlevel.open_process(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,  # Ctrl-C in a terminal is for the node
                )
        except OSError as error:
            self._failure = str(error)
            return None

    async def _listen(self, connection: trio.socket.SocketType) -> None:
        partial = b""
        while True:
            try:
                chunk = await connection.recv(65536)
            except OSError:
                return
            if not chunk:
                return
            *lines, partial = (partial + chunk).split(b"\n")
            for line in lines:
                self._hear(cast("dict[str, Any]", json.loads(line)))  # Any: our own script's JSON

    def _hear(self, message: dict[str, Any]) -> None:
        match message["event"]:
            case "ready":
                self.pid = self._outer(message["pid"])
                self._came_up = True
                self._ready.set()
            case "failed":
                self._failure = message["reason"]
            case "started" if message["id"] in self._running:
                self._running[message["id"]].pid = self._outer(message["pid"])
            case "exited":
                self._end(message["id"], Ended(message["status"], message["peak_memory_bytes"]))
            case _:
                pass

    def _outer(self, pid: int) -> int | None:
        """A process by the number it has for us; a launcher may have given it a numbering of its own."""
        if self._confinement.backend is not Backend.BUBBLEWRAP or self._group is None:
            return pid
        return outer_pid(self._group, pid)

    def _end(self, id: int, end: Ended) -> None:
        running = self._running.get(id)
        if running is not None and not running.ended.is_set():
            running.end = end
            running.ended.set()

    async def _finish(self, process: trio.Process, was_ready: bool) -> None:
        """The process is gone or has to go; so has everything it was running."""
        connection, self._socket, self.pid = self._socket, None, None
        if connection is not None:
            connection.close()
        if was_ready:  # else it is still importing and would not see that we left
            with trio.move_on_after(END_SECONDS):
                await process.wait()
        if process.returncode is None:
            _kill_group(process.pid)  # not the launcher alone: what it has just forked would wait for it for ever
        await process.wait()
        for id, running in self._running.items():
            if not running.ended.is_set():
                _kill_group(running.pid)
                self._end(id, Ended(status=None))


async def _pump(output: trio.lowlevel.FdStream, on_output: Callable[[bytes], None], running: _Running) -> None:
    async for chunk in output:
        running.output_bytes += len(chunk)
        on_output(bytes(chunk))


def _kill_group(pid: int | None) -> None:
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
