"""What the page says of steering: what this node's owner fixes and rules out, and what program.md asks for.

Reads the two files as `swarm steer` does; what other owners steer is known only from what their findings say of it.
"""

from typing import Any

from node import views
from node.browse.reading import Sight
from node.proposers.steering import Steering, show
from node.steering import files_of, goal_of, read_program
from node.text import clean
from swarm.words import SwarmError

Json = dict[str, Any]  # Any: a JSON document
MAX_VALUES = 12  # of one setting, in a sentence


def steering(sight: Sight) -> Json | None:
    """As `swarm status` has it, in words, too. None of an imported topic: nobody works on it."""
    if sight.archive.imported:
        return None
    said = views.steering(sight.archive)
    values = {name: tuple(many) for name, many in said["ban_values"].items()}
    return said | {"words": _words(Steering(said["pin"], tuple(said["ban"]), values))}


def _words(steering: Steering) -> list[str]:
    """One for each setting that is steered."""
    found = [f"{name} is {show(value)}" for name, value in steering.pins.items()]
    found += [f"{name} stays as it is" for name in steering.bans]
    for name, many in steering.banned_values.items():
        found.append(f"{name} is never {', '.join(map(show, many[:MAX_VALUES]))}{' …' * (len(many) > MAX_VALUES)}")
    return [clean(one, 300) for one in found]


def program(sight: Sight) -> str | None:
    """program.md, where its owner made it another than the goal of the brief."""
    archive = sight.archive
    if archive.imported:
        return None
    files = files_of(archive.home, archive.brief_id, archive.state.get("brief_id"))
    try:
        text = read_program(files.program, archive.brief)
    except SwarmError:  # said with the pins and bans
        return None
    return text if text != goal_of(archive.brief) else None
