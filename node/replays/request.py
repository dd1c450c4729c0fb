"""A request for a replay, and how one reaches a running node: a file in its home, answered in the same place.

Owns those files. The asker writes one whole; the node takes the oldest, does it, and then deletes the file: gone means
done. A node that was killed meanwhile finds it again. One that it cannot do is written over with the reason, which the
asker reads and deletes. Not covered: other homes, and requests from peers, of which there are none.
"""

import contextlib
import itertools
import os
from pathlib import Path

from pydantic import Field, ValidationError

from node.clock import wall_clock
from node.home import Home, write_atomically
from swarm.words import BriefId, FindingId, Frozen, SwarmError

STALE_SECONDS = 600.0  # an answer that nobody has read by then has lost its reader; a guess
MAX_BYTES = 4096
_HASH = r"^[0-9a-f]{64}$"


class ReplayRefused(SwarmError):
    """This finding cannot be replayed here, or not like this."""


class ReplayRequest(Frozen):
    brief: BriefId = Field(pattern=_HASH)
    finding: FindingId = Field(pattern=_HASH)
    steps: int | None = Field(default=None, ge=1)  # only so many, at the pace of the first run
    refused: str = Field(default="", max_length=2000)  # the node's answer, if it cannot


class ReplayRequests:
    """The requests waiting in a home. Asked by a command, done by the node that holds the home's lock."""

    def __init__(self, home: Home) -> None:
        self._folder = home.path / "replays"
        self._counter = itertools.count()
        self._taken: set[Path] = set()  # by a worker of this process

    # --- the asker's side -----------------------------------------------------------------------------------------

    def put(self, request: ReplayRequest) -> Path:
        """Raises ReplayRefused when the home cannot be written."""
        name = f"{int(wall_clock() * 1000):014}-{os.getpid()}-{next(self._counter)}.json"
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            write_atomically(self._folder / name, request.model_dump_json().encode())
        except OSError as error:
            raise ReplayRefused(f"cannot write the request in {self._folder}: {error.strerror}") from None
        return self._folder / name

    def answered(self, path: Path) -> bool:
        """True when it was done. Raises ReplayRefused if the node refused it; then the file is gone, too."""
        request = _read(path)
        if request is None:
            return True
        if request.refused:
            self.withdraw(path)
            raise ReplayRefused(request.refused)
        return False

    def withdraw(self, path: Path) -> None:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)

    # --- the node's side ------------------------------------------------------------------------------------------

    def take(self) -> tuple[Path, ReplayRequest] | None:
        """The oldest one that nobody has taken. It stays on the disk until it is done."""
        for path in self._waiting():
            request = _read(path)
            if request is not None and not request.refused:
                self._taken.add(path)
                return path, request
            if request is None or _age_seconds(path) > STALE_SECONDS:
                self.done(path)  # what is no request has nobody who waits for it
        return None

    def done(self, path: Path) -> None:
        """It stays among the taken ones: what cannot be deleted is not done for ever."""
        self.withdraw(path)

    def refuse(self, path: Path, request: ReplayRequest, reason: str) -> None:
        """Nobody is told if the disk is full, but it is not tried again."""
        answer = request.model_copy(update={"refused": reason[:2000]})
        try:
            if path.exists():  # else it was withdrawn
                write_atomically(path, answer.model_dump_json().encode())
                self._taken.discard(path)
        except OSError:
            self.withdraw(path)

    def put_back(self, path: Path) -> None:
        """Taken and not done: somebody stopped it."""
        self._taken.discard(path)

    def _waiting(self) -> list[Path]:
        try:
            return sorted(path for path in self._folder.glob("[0-9]*.json") if path not in self._taken)
        except OSError:
            return []


def _read(path: Path) -> ReplayRequest | None:
    """None where there is none, or something else."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return None
        return ReplayRequest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _age_seconds(path: Path) -> float:
    try:
        return wall_clock() - path.stat().st_mtime
    except OSError:
        return 0.0
