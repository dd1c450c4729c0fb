"""Authors who contradict themselves. Pure: what proves it, and the port to where the proofs are kept.

Two records of one author and brief are a proof when they cannot both stand in one log: they have one sequence number,
or the later one says that something else came before it. Who holds both frames needs no further word from anybody.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from gossip.envelope import Record

NO_MORE = 2**53 - 1  # as a head in a request: nothing more of this author is wanted
TIP_BYTES = 8  # of a record's id: enough to see that two are not the same


def contradict(one: Record, other: Record) -> bool:
    """Whether two records cannot both stand in one log. Symmetric."""
    if (one.author, one.brief) != (other.author, other.brief) or one.id == other.id:
        return False
    earlier, later = sorted((one, other), key=lambda record: record.seq)
    return earlier.seq == later.seq or (earlier.seq + 1 == later.seq and later.prev != earlier.id)


class Forks(Protocol):
    """Where proofs are kept, beside the records of one brief. Calls are synchronous and short."""

    def unwanted(self) -> Collection[str]:
        """Authors of whom no more records are taken."""
        ...

    def tips(self, authors: Iterable[str]) -> dict[str, bytes]:
        """First bytes of the id of the record at our head of each of these authors, where there is one."""
        ...

    def evidence(self, heads: Mapping[str, int], tips: Mapping[str, bytes]) -> list[tuple[str, tuple[bytes, ...]]]:
        """(author, frames) that an asker with these heads and tips lacks to see that an author contradicts itself.

        Both frames of a proof for each author who is proven here and not NO_MORE there. Our record at the head where
        the heads are equal and the tips are not: whoever holds the other record has the proof then.
        """
        ...


class NoForks:
    """Keeps no proofs."""

    def unwanted(self) -> Collection[str]:
        return ()

    def tips(self, authors: Iterable[str]) -> dict[str, bytes]:  # noqa: ARG002 - the port's signature
        return {}

    def evidence(
        self,
        heads: Mapping[str, int],  # noqa: ARG002
        tips: Mapping[str, bytes],  # noqa: ARG002
    ) -> list[tuple[str, tuple[bytes, ...]]]:
        return []
