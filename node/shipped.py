"""Where the files are that ship with the project: from a checkout, or from an installed wheel.

Owns only the two places. Knows nothing of what the files say.
"""

from pathlib import Path

from swarm.words import SwarmError

PACKAGE = Path(__file__).resolve().parent


class ShippedFileMissing(SwarmError):
    """A file that belongs to the project is not there: the installation is incomplete."""


def configs() -> Path:
    """The folder with gpt.toml, goal.md and topics/."""
    return _folder("configs")


def experiments() -> Path:
    """The folder with train.py, answer.py and warm.py."""
    return _folder("experiments")


def _folder(name: str) -> Path:
    places = (PACKAGE / "shipped" / name, PACKAGE.parent / name)  # wheel (pyproject's force-include), checkout
    for place in places:
        if place.is_dir():
            return place
    raise ShippedFileMissing(
        f"the project's {name}/ folder is neither at {places[0]} nor at {places[1]}; install research-swarm again"
    )


def shipped_text(folder: Path, name: str) -> str:
    """The text of a shipped file; a clear error when the installation lacks it."""
    path = folder / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ShippedFileMissing(
            f"the shipped file {path} cannot be read ({error.strerror}); install research-swarm again"
        ) from None
