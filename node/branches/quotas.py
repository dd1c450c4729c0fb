"""How much of peers' branches is kept: counted as it came over the network, by branch, in `branches.json` of the home.

Owns that file and its limits. What git makes of it on disk is less once it has packed it.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from node.home import write_atomically

FILE_NAME = "branches.json"  # in the home
DEFAULT_QUOTA_MB = 2048  # guess: a hundred nodes' night; a run is 10 kB in a pack
SHARE_OF_ONE = 4  # one peer gets at most a quarter


@dataclass(frozen=True, slots=True)
class Kept:
    """Of one branch."""

    bytes: int
    fetched_at: str
    source: str  # the peer that gave it last
    shallow: bool = False


class Quotas:
    def __init__(self, file: Path, total_bytes: int = DEFAULT_QUOTA_MB << 20) -> None:
        self._file, self._total = file, total_bytes
        self.kept = read_kept(file)

    def left(self, branch: str, held_bytes: int = 0) -> int:
        """Bytes that may still come for a branch, while so many of others are there that were not added yet."""
        used = sum(one.bytes for one in self.kept.values())
        peer = branch.rpartition("/")[0]
        of_one = sum(one.bytes for name, one in self.kept.items() if name.rpartition("/")[0] == peer)
        return max(0, min(self._total - used - held_bytes, self._total // SHARE_OF_ONE - of_one))

    def add(self, branch: str, size_bytes: int, source: str, at: str, *, shallow: bool) -> None:
        before = self.kept.get(branch)
        self.kept[branch] = Kept((before.bytes if before else 0) + size_bytes, at, source, shallow)
        document = {"format": 1, "branches": {name: asdict(one) for name, one in sorted(self.kept.items())}}
        with contextlib.suppress(OSError):  # counted in memory until the disk has room
            write_atomically(self._file, json.dumps(document, indent=1).encode())


def read_kept(file: Path) -> dict[str, Kept]:
    """Empty if there is nothing that can be read."""
    try:
        document: object = json.loads(file.read_text())
        written = cast("dict[str, Any]", document)  # Any: JSON of our own making, perhaps of another version
        return {str(name): Kept(**one) for name, one in written["branches"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
