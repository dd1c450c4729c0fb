"""One git of ours talking with a peer's upload-pack: a socket between git's helper `fd::` and a bus's stream.

Owns that both end together, whichever ends first, and whose words say why. What is asked for is `fetching.py`'s.
"""

import socket
from collections.abc import Awaitable, Sequence
from typing import Protocol

import trio

from gossip.bus import PeerUnreachable, innermost
from gossip.pipe import Limits, LocalEnd
from gossip.refusal import GossipError
from node.branches.quiet_git import QuietGit
from node.results.git import GitFailed, ResultsError

MAX_SAID_BYTES = 4 << 20  # by git here; a list of a peer's branches is the longest


class Join(Protocol):
    """As gossip's Bus.join."""

    def __call__(
        self, peer: str, names: Sequence[str], local: trio.abc.HalfCloseableStream, limits: Limits
    ) -> Awaitable[int]: ...


async def talk(
    join: Join, git: QuietGit, peer: str, names: Sequence[str], limits: Limits, command: list[str], refs: list[str]
) -> bytes:
    """Run git with the peer's upload-pack at the other end. What it said; of a fetch, how many bytes came."""
    ours, gits = socket.socketpair()
    local = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
    result: list[bytes] = []
    came: list[int] = []
    failed: list[GitFailed] = []

    async def run_git() -> None:
        try:
            words = [*command, f"fd::{gits.fileno()}", *refs]
            result.append(await git.run(*words, pass_fds=[gits.fileno()], limit_bytes=MAX_SAID_BYTES))
        except GitFailed as failure:
            failed.append(failure)
        finally:
            gits.close()

    async def carry() -> None:
        try:
            came.append(await join(peer, names, local, limits))
        except LocalEnd:  # git's own words say why
            pass
        finally:
            await trio.aclose_forcefully(local)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_git)
            nursery.start_soon(carry)
    except BaseExceptionGroup as group:
        _, errors = group.split(trio.Cancelled)
        if errors is not None and isinstance(cause := innermost(errors), GossipError | ResultsError):
            raise cause from None
        raise
    finally:
        gits.close()
    if failed:
        raise failed[0]
    if not came:  # and git was content
        raise PeerUnreachable(f"peer {peer} goes on after all that was asked for")
    return str(came[0]).encode() if refs else result[0]
