"""Topics of a home that came out of another tool's table: only to look at, nobody can add to them.

Owns the file `imported.json` of a home. What such a topic is made of is node/exchange/importing.py's business.
"""

import json
from typing import Any, cast

from node.home import Home, HomeError, write_atomically
from swarm.words import BriefId, PeerId, SwarmError

FILE_NAME = "imported.json"


class OnlyToLookAt(SwarmError):
    """What was asked for needs a topic that can be worked on."""


def imported_authors(home: Home) -> dict[BriefId, PeerId]:
    """Brief -> the author of all its findings, whose key nobody has."""
    try:
        said: object = json.loads((home.path / FILE_NAME).read_bytes())
    except (OSError, ValueError):
        return {}
    entries = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    return {BriefId(id): PeerId(author) for id, author in entries.items() if isinstance(author, str)}


def remember_imported(home: Home, brief: BriefId, author: PeerId) -> None:
    """Raises HomeError."""
    entries = imported_authors(home) | {brief: author}
    try:
        write_atomically(home.path / FILE_NAME, (json.dumps(entries, indent=1) + "\n").encode())
    except OSError as error:
        raise HomeError(f"cannot write in {home.path}: {error.strerror}; choose a writable --home") from None


def refuse_work_on(home: Home, topic: str) -> None:
    """Raises OnlyToLookAt if `topic`, a name or brief id, was imported: it has no text to train on."""
    for id in imported_authors(home):
        path = home.briefs / f"{id}.json"
        name = home.load_brief(id).name if path.exists() else ""
        if name and topic in (id, name):
            raise OnlyToLookAt(
                f"topic {name} was imported and has no text to train on: it is only to look at, with "
                f"swarm log --topic {name}"
            )
