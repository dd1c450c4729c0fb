"""Getting one pinned file over HTTP: resume, retry, and a hash that decides whether it is the file.

Synchronous: callers run it in a thread. Knows nothing of topics; what the bytes mean is `node/topics/documents.py`.
An exception raised by the progress callback stops the download and leaves the part for the next start.
"""

import errno
import hashlib
import os
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from swarm.words import SwarmError

Progress = Callable[[str, int, int | None], None]  # what, bytes (or documents) done, how many in all if known

ATTEMPTS = 5  # without progress in between; guess: rides out a router's restart, not a lost network
FIRST_PAUSE_SECONDS = 0.5  # doubles with each failed attempt
TIMEOUT = httpx.Timeout(30.0, connect=10.0)  # seconds; guess
PARTIAL_CONTENT, RANGE_NOT_SATISFIABLE, TOO_MANY_REQUESTS = 206, 416, 429  # HTTP status codes
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DownloadError(SwarmError):
    """The file could not be had, or is not the file that was pinned."""


class DiskError(SwarmError):
    """The disk is full, or refuses."""


class _TryAgain(Exception):
    """The network's or the server's passing fault."""


@dataclass(frozen=True)
class RemoteFile:
    url: str
    sha256: str | None  # None: nobody pinned it yet, so it is never used, only named with its hash
    size_bytes: int | None = None

    @property
    def name(self) -> str:
        return file_name(self.url)


def file_name(url: str) -> str:
    """The last part of the path, safe to be a file's name."""
    name = url.split("?")[0].split("#")[0].rsplit("/", 1)[-1]
    return name if name.strip(".") else "download"


def download(
    remote: RemoteFile,
    target: Path,
    on_progress: Progress | None = None,
    *,
    pause: Callable[[float], None] = time.sleep,
) -> Path:
    """`target`, holding exactly the pinned bytes: what is there already if it matches, else from `remote`."""
    aside = ""
    part = target.with_name(target.name + ".part")
    with _named_disk_errors(target, part):
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            if remote.sha256 is None:
                raise _unpinned(remote, target)
            if file_sha256(target) == remote.sha256:
                return target
            aside = f"; the file that lay at {target} was another one and is now {_move_aside(target, 'wrong')}"
        try:
            _fetch(remote, target, part, on_progress or _silent, pause)
        except DownloadError as error:
            raise DownloadError(f"{error}{aside}") from None
    return target


def _fetch(remote: RemoteFile, target: Path, part: Path, on_progress: Progress, pause: Callable[[float], None]) -> None:
    resumed = _size(part) > 0
    _complete(remote, target, part, on_progress, pause)
    found = file_sha256(part)
    if (
        remote.sha256 not in (None, found) and resumed
    ):  # the part may have been the start of another file: once more, whole
        part.unlink()
        _complete(remote, target, part, on_progress, pause)
        found = file_sha256(part)
    if remote.sha256 is None:
        part.replace(target)
        raise _unpinned(remote, target)
    if found != remote.sha256:
        kept = _move_aside(part, "wrong", target)
        raise DownloadError(
            f"{remote.url} sent another file than the pinned one (sha256 {found} instead of {remote.sha256}); it was "
            f"moved to {kept} and is not used; get the right file and put it at {target}"
        )
    part.replace(target)


def _complete(
    remote: RemoteFile, target: Path, part: Path, on_progress: Progress, pause: Callable[[float], None]
) -> None:
    """Fill `part` to the end the server names, over as many connections as that takes."""
    failures = 0
    with _client() as client:
        while True:
            before = _size(part)
            try:
                return _one_connection(client, remote, part, on_progress)
            except (_TryAgain, httpx.TransportError, httpx.DecodingError, httpx.TooManyRedirects) as error:
                failures = 1 if _size(part) > before else failures + 1
                if failures >= ATTEMPTS:
                    raise _unreachable(remote, target, part, error) from None
            except httpx.InvalidURL as error:
                raise DownloadError(f"{remote.url!r} is not an address that can be downloaded: {error}") from None
            pause(FIRST_PAUSE_SECONDS * 2 ** (failures - 1))


def _client() -> httpx.Client:
    try:
        return httpx.Client(timeout=TIMEOUT, follow_redirects=True)  # with the environment's proxies
    except (ValueError, ImportError) as error:  # a scheme it does not know; socks without its package
        raise DownloadError(f"the proxy setting of the environment cannot be used: {error}; correct it") from None


def _one_connection(client: httpx.Client, remote: RemoteFile, part: Path, on_progress: Progress) -> None:
    have = _size(part)
    if remote.size_bytes is not None and have == remote.size_bytes:
        return
    if remote.size_bytes is not None and have > remote.size_bytes:
        part.unlink()
        have = 0
    # identity: a range of a compressed body would not be a range of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", remote.url, headers=headers) as answer:
        if answer.status_code == RANGE_NOT_SATISFIABLE and have:
            if answer.headers.get("Content-Range") == f"bytes */{have}":
                return  # we have all of it already
            part.unlink(missing_ok=True)
            raise _TryAgain("the server refuses to go on where the last attempt stopped")
        _check_status(answer, remote)
        resumes = answer.status_code == PARTIAL_CONTENT
        if resumes and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise _TryAgain("the server answered with another range than was asked for")
        _write_body(answer, remote, part, have if resumes else 0, on_progress)


def _check_status(answer: httpx.Response, remote: RemoteFile) -> None:
    status = answer.status_code
    if status == TOO_MANY_REQUESTS or status >= 500:
        raise _TryAgain(f"the server answered {status} {answer.reason_phrase}")
    if not answer.is_success:
        raise DownloadError(
            f"{remote.url} answered {status} {answer.reason_phrase}; check the address in the topic file"
        )


def _write_body(answer: httpx.Response, remote: RemoteFile, part: Path, start: int, on_progress: Progress) -> None:
    length = answer.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else remote.size_bytes
    done = start
    with part.open("ab" if start else "wb") as file:
        # as they come: a chunk size would hold bytes back and lose them with the connection
        for block in answer.iter_raw():
            file.write(block)
            done += len(block)
            on_progress(remote.name, done, total)
            if remote.size_bytes is not None and done > remote.size_bytes:
                return  # longer than the pinned file: the hash will say so, no need to take the rest
    if total is not None and done < total:
        raise _TryAgain(f"the connection ended after {done} of {total} bytes")


def _unpinned(remote: RemoteFile, target: Path) -> DownloadError:
    return DownloadError(
        f"{remote.url} has no pinned hash, so it is not used: the file at {target} ({_size(target)} bytes) has "
        f'sha256 = "{file_sha256(target)}"; add that line to the topic file if you trust it'
    )


def _unreachable(remote: RemoteFile, target: Path, part: Path, error: Exception) -> DownloadError:
    kept = f" ({_size(part)} bytes are kept for the next attempt)" if _size(part) else ""
    reason = str(error) or type(error).__name__
    return DownloadError(
        f"cannot download {remote.name} from {remote.url}: {reason}{kept}; connect to the network and start again, or "
        f"get the file yourself and put it at {target}, or use topic pysource, which needs no download"
    )


def _move_aside(path: Path, why: str, name_after: Path | None = None) -> Path:
    after = name_after or path
    return path.replace(after.with_name(f"{after.name}.{why}"))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass


@contextmanager
def _named_disk_errors(target: Path, part: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        kept = f"; {_size(part)} bytes received so far are kept" if part.exists() else ""
        raise DiskError(f"{disk_error(error, target)}{kept}") from None


def disk_error(error: OSError, place: Path) -> DiskError:
    """One sentence for a disk that is full or refuses."""
    if error.errno in NO_ROOM:
        return DiskError(
            f"no room left on the disk of {place} ({os.strerror(error.errno or 0)}); make room there and start again"
        )
    return DiskError(f"cannot write {place}: {error.strerror or error}; choose another home with --home")
