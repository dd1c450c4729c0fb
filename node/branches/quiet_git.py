"""git for what strangers give and take: lowest priority, bounded in memory, processor time and output, nobody's set-up.

Owns how such a git is started and ended. The results repository's own commits go through node/results/git.py.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

import trio

from node.results.git import GitFailed, ResultsError
from node.text import clean

MEMORY_KILOBYTES = 2 << 20  # of address space, packs that are mapped too; an object of 16 MB needs a fraction
PROCESSOR_SECONDS = 1800
END_SECONDS = 2.0
_SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.quotePath": "false",
    "core.bigFileThreshold": "8m",  # larger blobs are hashed in passing, not held
    "core.packedGitWindowSize": "16m",
    "core.packedGitLimit": "256m",
    "core.protectHFS": "true",
    "core.protectNTFS": "true",
    "fetch.fsckObjects": "true",
    "fetch.recurseSubmodules": "false",
    "fetch.writeCommitGraph": "false",
    "gc.auto": "0",
    "gc.cruftPacks": "true",  # what no branch has stays packed; written out it could fill a disk
    "maintenance.auto": "false",
    "pack.threads": "1",
    "pack.windowMemory": "64m",
    "protocol.allow": "never",
    "protocol.fd.allow": "always",
    "protocol.version": "0",  # a later one lets whoever asks have any object by its name
    "receive.fsckObjects": "true",
    "safe.directory": "*",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.credentialsInUrl": "die",
    "transfer.fsckObjects": "true",
    "uploadpack.allowAnySHA1InWant": "false",
    "uploadpack.allowFilter": "false",
    "uploadpack.allowReachableSHA1InWant": "false",
    "uploadpack.allowTipSHA1InWant": "false",
}


class TooLong(ResultsError):
    """git said more than it was allowed to."""


def git_settings(config: Mapping[str, str] | Sequence[tuple[str, str]] = ()) -> list[str]:
    more = list(config.items()) if isinstance(config, Mapping) else list(config)
    return [part for key, value in [*_SETTINGS.items(), *more] for part in ("-c", f"{key}={value}")]


def clean_environment() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "SSH_"))}
    return kept | {
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_PROTOCOL_FROM_USER": "0",
    }


@lru_cache(maxsize=8)
def _quietly(file_bytes: int = 0) -> tuple[str, ...]:
    """Words before a command: limits, of a file it writes too, and no priority over anything."""
    ionice = f"{found} -c 3 " if (found := shutil.which("ionice")) else ""
    limits = f"ulimit -f {file_bytes // 512 + 1}; " if file_bytes else ""
    limits += f"ulimit -c 0; ulimit -v {MEMORY_KILOBYTES}; ulimit -t {PROCESSOR_SECONDS}"
    return ("/bin/sh", "-c", f'{limits}; exec nice -n 19 {ionice}"$@"', "git")


@asynccontextmanager
async def quiet_process(
    arguments: Sequence[str],
    *,
    config: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
    file_bytes: int = 0,
) -> AsyncGenerator[trio.Process]:
    """A git whose standard output is a pipe. When the context ends, it and what it started are gone."""
    try:
        process = await trio.lowlevel.open_process(
            [*_quietly(file_bytes), "git", *git_settings(config), *arguments],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            pass_fds=tuple(pass_fds),
            cwd=cwd or "/",
            env=clean_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise ResultsError(f"git cannot be started: {error.strerror}") from None
    try:
        yield process
    finally:
        await _end(process)


async def _end(process: trio.Process) -> None:
    """The whole group: git's own children outlive it otherwise."""
    with trio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                break
            with trio.move_on_after(END_SECONDS):
                await process.wait()
        await process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


class QuietGit:
    """git on the repository at `path`, its objects, not its work tree."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.directory = path / ".git"

    async def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        limit_bytes: int = 64 << 20,
        config: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        file_bytes: int = 0,  # that a file may get; 0: any
    ) -> bytes:
        """Standard output. Raises GitFailed with the first error line, TooLong."""
        words = (f"--git-dir={self.directory}", "--no-pager", *arguments)
        out, complaint = bytearray(), bytearray()
        async with quiet_process(
            words, config=config or {}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=pass_fds,
            file_bytes=file_bytes,
        ) as process:  # fmt: skip
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_write, process.stdin, stdin)
                nursery.start_soon(_keep_beginning, process.stderr, complaint)
                async for piece in process.stdout:
                    out += piece
                    if len(out) > limit_bytes:
                        nursery.cancel_scope.cancel()
                        break
                else:
                    await process.wait()
        if len(out) > limit_bytes:
            raise TooLong(f"git {arguments[0]} said more than {limit_bytes} bytes")
        if process.returncode:
            line = _first_line(bytes(complaint), process.returncode)
            raise GitFailed(f"git {arguments[0]} failed: {line}", line)
        return bytes(out)

    async def says(self, *arguments: str) -> bool:
        """Whether a git command that answers by its exit status says yes."""
        try:
            await self.run(*arguments)
        except GitFailed:
            return False
        return True


async def _write(stream: trio.abc.SendStream, content: bytes) -> None:
    try:
        await stream.send_all(content)
    except trio.BrokenResourceError:  # git has heard enough
        pass
    finally:
        await stream.aclose()


async def _keep_beginning(stream: trio.abc.ReceiveStream, kept: bytearray) -> None:
    while piece := await stream.receive_some(4096):
        kept += piece[: max(0, 65_536 - len(kept))]


def _first_line(complaint: bytes, returncode: int) -> str:
    lines = [line.strip() for line in complaint.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if line.startswith(("fatal:", "error:", "remote: error"))]
    return clean((telling or lines or [f"exit status {returncode}"])[0], 300)
