"""A node's home: one directory with everything the node owns, and the lock that keeps it to one node.

identity.key    the node's Ed25519 key, mode 0600: who it is
journal.sqlite  every record, own and peers': the truth
results/        ordinary git repository with the branch of runs
briefs/         briefs this home has worked on, by id
corpora/        tokenized text, by topic
private/        keys of private swarms, by brief, mode 0600, and the addresses of their peers
scratch/        where trials run; emptied at start
replays/        what `swarm replay` asks of the node that runs here
program.md      what the owner wants researched: the brief's goal until it is edited
steering.toml   what the owner pins and bans; of topics worked on before: with the beginning of the brief id in the name
branches.json   what is kept of peers' branches; quarantine/ is where one is while it is checked; door.sock is how
                git and `swarm fetch` speak with a running node
peers.toml      whom the owner lets in and keeps out, if there is one
peers.json      where peers were reached; reputation.json: what is held against them
spending.jsonl  what language models have cost; prices.toml: the owner's prices, if there are some
imported.json   topics that `swarm import` made, and whose they are
network.json    what a running node counts of its network
state.json      what a running node last said of itself: for `swarm status` and friends
"""

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import platformdirs

from swarm.brief import Brief, decode_brief
from swarm.words import BriefId, SwarmError

SWARM_KEY_BYTES = 32


class HomeError(SwarmError):
    """The home directory cannot be used as asked."""


class NoHome(HomeError):
    """The directory that was named is no home and cannot become one: wrong usage."""


def default_home() -> Path:
    return Path(platformdirs.user_data_dir("research-swarm"))


class Home:
    """Paths of a home, its lock and its small files. Creating the object touches nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()
        self.key = self.path / "identity.key"
        self.journal = self.path / "journal.sqlite"
        self.results = self.path / "results"
        self.briefs = self.path / "briefs"
        self.corpora = self.path / "corpora"
        self.scratch = self.path / "scratch"
        self.private = self.path / "private"
        self.spending = self.path / "spending.jsonl"
        self.state = self.path / "state.json"
        self._lock = self.path / "lock"

    def create(self) -> None:
        """Make the directories, readable by their owner only. Raises NoHome in one sentence."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for directory in (self.briefs, self.corpora, self.scratch):
                directory.mkdir(exist_ok=True)
        except OSError as error:
            raise NoHome(
                f"cannot use {self.path} as a home: {error.strerror}; choose a writable directory with --home"
            ) from None

    def require(self) -> None:
        """Raise NoHome unless a node has been here before."""
        try:
            found = self.key.exists()
        except OSError as error:
            raise NoHome(f"cannot read {self.path}: {error.strerror}; choose another directory with --home") from None
        if not found:
            raise NoHome(f"no node has run in {self.path} yet; start one with: swarm launch --home {self.path}")

    @contextlib.contextmanager
    def lock(self) -> Generator[None]:
        """Hold the home for this process; the kernel lets go however the process ends. Raises HomeError if taken."""
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise HomeError(
                f"cannot write in {self.path}: {error.strerror}; choose a writable directory with --home"
            ) from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise HomeError(f"cannot lock {self._lock}: {error.strerror}") from None
                owner = os.pread(handle, 20, 0).decode(errors="replace").strip()
                raise HomeError(
                    f"another node (process {owner or 'unknown'}) is running in {self.path}; "
                    "stop it, or give this one its own directory with --home"
                ) from None
            with contextlib.suppress(OSError):  # a full disk: the lock holds without the number of its owner
                os.ftruncate(handle, 0)
                os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(handle)

    def running(self) -> bool:
        """True while some process holds the lock."""
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False

    def read_state(self) -> dict[str, Any]:  # Any: JSON of our own making, perhaps of another version
        try:
            state = json.loads(self.state.read_text())
        except (OSError, ValueError):
            return {}
        return cast("dict[str, Any]", state) if isinstance(state, dict) else {}

    def write_state(self, state: dict[str, Any]) -> None:
        """For its owner only: it holds the ticket, and the ticket may hold a key."""
        write_atomically(self.state, (json.dumps(state, indent=1) + "\n").encode(), mode=0o600)

    def swarm_key_file(self, id: BriefId) -> Path:
        return self.private / f"{id}.key"

    def private_peers_file(self, id: BriefId) -> Path:
        """Their addresses, apart from those of public peers: neither are dialled for the other."""
        return self.private / f"{id}.peers.json"

    def is_private(self, id: BriefId) -> bool:
        return self.swarm_key_file(id).exists()

    def load_swarm_key(self, id: BriefId) -> bytes | None:
        """None: this home works on the brief in public. Raises HomeError."""
        path = self.swarm_key_file(id)
        try:
            key = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HomeError(f"cannot read the key of a private swarm, {path}: {error.strerror}") from None
        if len(key) != SWARM_KEY_BYTES:
            raise HomeError(
                f"{path} should hold the {SWARM_KEY_BYTES} bytes of a private swarm's key and holds {len(key)}: put a "
                "copy back, or join with a ticket in another --home"
            )
        return key

    def save_swarm_key(self, id: BriefId, key: bytes) -> None:
        """Raises HomeError."""
        assert len(key) == SWARM_KEY_BYTES, f"{len(key)} bytes"
        path = self.swarm_key_file(id)
        try:
            self.private.mkdir(mode=0o700, exist_ok=True)
            write_atomically(path, key, mode=0o600)
        except OSError as error:
            raise HomeError(f"cannot keep the key of a private swarm in {path}: {error.strerror}") from None

    def save_brief(self, id: BriefId, data: bytes) -> None:
        path = self.briefs / f"{id}.json"
        if not path.exists():
            write_atomically(path, data)

    def load_brief(self, id: BriefId) -> Brief:
        path = self.briefs / f"{id}.json"
        try:
            return decode_brief(path.read_bytes())
        except OSError as error:
            raise HomeError(f"cannot read the brief {path}: {error.strerror}") from None


def write_atomically(path: Path, data: bytes, *, mode: int = 0o666) -> None:
    """The file is old or new, never half. `mode` as for a new file: the umask counts. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)  # a leftover would keep its own mode
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
