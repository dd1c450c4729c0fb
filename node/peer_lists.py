"""Whom a person lets in: the file `peers.toml` of a home, and the options --allow and --deny on top of it.

    allow = ["12D3KooW…"]     # not empty: nobody else
    deny = ["12D3KooW…"]

Owns the file's form. What the lists do is gossip's.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from gossip.doorkeeper import PeerLists
from gossip.identity import public_key_of
from node.home import HomeError

FILE_NAME = "peers.toml"


def load_peer_lists(home: Path, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> PeerLists:
    """The file's lists, if there is one, and what was asked for besides. Raises HomeError."""
    path = home / FILE_NAME
    try:
        written = tomllib.loads(path.read_text()) if path.exists() else {}
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise HomeError(f"cannot read {path}: {error}; mend it or move it away") from None
    if unknown := sorted(set(written) - {"allow", "deny"}):
        raise HomeError(f"{path} has {unknown[0]!r}, which means nothing there; it may have allow and deny")
    allowed = frozenset((*_peers(path, written, "allow"), *allow))
    return PeerLists(allowed, frozenset((*_peers(path, written, "deny"), *deny)))


def _peers(path: Path, written: dict[str, Any], name: str) -> list[str]:  # Any: TOML
    listed: object = written.get(name, [])
    if not isinstance(listed, list):
        raise HomeError(f'{path}: {name} must be a list of peer ids, {name} = ["12D3KooW..."]')
    for peer in cast("list[object]", listed):
        if not isinstance(peer, str) or public_key_of(peer) is None:
            raise HomeError(f"{path}: {peer!r} in {name} is not a peer id; one has 52 characters, 12D3KooW...")
    return cast("list[str]", listed)
