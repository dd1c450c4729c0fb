"""What a node's owner says while it runs: `program.md` and `steering.toml` in the home.

Owns the two files: who made them, for which brief they are, and reading them anew before each proposal. What a pin
means is node/proposers/steering.py's. The brief never changes; what is steered is this node's own research.

    ban = ["rope"]           # stays as it is in what is improved

    [pin]
    depth = 4                # every proposal has it

    [ban_values]
    width = [128, 192]
"""

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

from node.events import Events, Steered
from node.home import Home, HomeError, write_atomically
from node.proposers.steering import Steering, SteeringError
from node.text import clean
from swarm.brief import Brief
from swarm.words import BriefId, SwarmError, Value

T = TypeVar("T")
MAX_PROGRAM_CHARS = 16_000  # as a brief's goal
MAX_FILE_BYTES = 256 * 1024  # of either file; what is larger was written by nobody who meant it
MAX_SAID_CHARS = 1000
REMARK = "Steered by the node's owner: "  # in a finding's rationale, at its end
HEADER = (
    "# What the owner of this node fixes and rules out. `swarm steer` writes it; it is read before each proposal.\n"
)


def steering_json(steering: Steering, program_edited: bool) -> dict[str, object]:
    """As `swarm status` and `swarm steer` have it."""
    return {
        "pin": dict(steering.pins),
        "ban": list(steering.bans),
        "ban_values": {name: list(many) for name, many in steering.banned_values.items()},
        "program_edited": program_edited,
    }


@dataclass(frozen=True)
class SteeringFiles:
    """Where a brief's two files are in a home."""

    program: Path
    steering: Path


def files_of(home: Home, brief: BriefId, latest: object) -> SteeringFiles:
    """`latest`: the brief that the node last worked on; the plain names are its, others are kept aside."""
    aside = "" if latest in (None, brief) else f".{brief[:12]}"
    return SteeringFiles(home.path / f"program{aside}.md", home.path / f"steering{aside}.toml")


def settle(home: Home, brief: BriefId, latest: object) -> SteeringFiles:
    """Give the plain names to the brief that is worked on from now on. Raises HomeError."""
    plain = SteeringFiles(home.path / "program.md", home.path / "steering.toml")
    if not isinstance(latest, str) or latest == brief:
        return plain
    try:
        _move(plain, files_of(home, BriefId(latest), brief))
        _move(files_of(home, brief, latest), plain)
    except OSError as error:
        raise HomeError(f"cannot move steering files in {home.path}: {error.strerror}") from None
    return plain


def _move(source: SteeringFiles, target: SteeringFiles) -> None:
    for before, after in ((source.program, target.program), (source.steering, target.steering)):
        if before.exists():
            before.replace(after)


# --- steering.toml ------------------------------------------------------------------------------------------------


def load_steering(path: Path, brief: Brief) -> Steering:
    """Nothing where there is no file. Raises SteeringError."""
    try:
        written: dict[str, object] = tomllib.loads(_read(path))
    except FileNotFoundError:
        return Steering()
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise SteeringError(f"cannot read {path}: {clean(str(error), 200)}; mend it or move it away") from None
    if lost := sorted(set(written) - {"pin", "ban", "ban_values"}):
        raise SteeringError(f"{path} has {lost[0]!r}, which means nothing there; it may have pin, ban and ban_values")
    pins, bans, values = written.get("pin", {}), written.get("ban", []), written.get("ban_values", {})
    if not isinstance(pins, dict) or not isinstance(bans, list) or not isinstance(values, dict):
        raise SteeringError(f"{path}: ban is a list of settings, pin and ban_values are tables")
    listed = {str(name): many for name, many in cast("dict[str, object]", values).items()}
    if any(not isinstance(many, list) for many in listed.values()):
        raise SteeringError(f"{path}: each of ban_values is a list, width = [128, 192]")
    made = Steering(
        {name: _value(path, one) for name, one in cast("dict[str, object]", pins).items()},
        tuple(str(name) for name in cast("list[object]", bans)),
        {name: tuple(_value(path, one) for one in cast("list[object]", many)) for name, many in listed.items()},
    )
    made = in_types(made, brief)
    if problem := made.problem(brief.space):
        raise SteeringError(f"{path}: {problem}")
    return made


def in_types(steering: Steering, brief: Brief) -> Steering:
    """15 where the space means 15.0."""

    def meant(name: str, value: Value) -> Value:
        parameter = brief.space.parameters.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53
        if whole and parameter is not None and parameter.kind == "float":
            return float(value)
        return value

    values = {name: tuple(meant(name, one) for one in many) for name, many in steering.banned_values.items()}
    return Steering({name: meant(name, one) for name, one in steering.pins.items()}, steering.bans, values)


def _value(path: Path, value: object) -> Value:
    if isinstance(value, (bool, int, float, str)):
        return value
    raise SteeringError(f"{path}: {clean(str(value), 60)!r} is no value of a setting")


def save_steering(path: Path, steering: Steering) -> None:
    """Raises HomeError."""
    _write(path, steering_text(steering))


def steering_text(steering: Steering) -> str:
    lines = [HEADER, f"ban = [{', '.join(map(_toml, steering.bans))}]\n", "[pin]"]
    lines += [f"{_key(name)} = {_toml(value)}" for name, value in steering.pins.items()]
    lines += ["\n[ban_values]"]
    lines += [f"{_key(name)} = [{', '.join(map(_toml, many))}]" for name, many in steering.banned_values.items()]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _toml(value: Value) -> str:
    return json.dumps(value) if isinstance(value, (bool, str)) else repr(value)


# --- program.md ---------------------------------------------------------------------------------------------------


def read_program(path: Path, brief: Brief) -> str:
    """What the owner wants researched, the brief's goal where nobody wrote anything. Raises HomeError."""
    try:
        text = clean(_read(path), MAX_PROGRAM_CHARS, lines=True).strip()
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError) as error:
        raise HomeError(f"cannot read {path}: {clean(str(error), 200)}") from None
    return text or goal_of(brief)


def goal_of(brief: Brief) -> str:
    return clean(brief.goal, MAX_PROGRAM_CHARS, lines=True).strip()


def say(path: Path, brief: Brief, text: str, at: float) -> str:
    """Add one dated line to program.md. Returns it. Raises HomeError."""
    line = f"- {datetime.fromtimestamp(at, UTC):%Y-%m-%d}: {clean(text, MAX_SAID_CHARS)}"
    program = read_program(path, brief)
    if len(program) + len(line) + 1 > MAX_PROGRAM_CHARS:
        raise HomeError(f"{path} would be longer than {MAX_PROGRAM_CHARS} characters; shorten it first")
    _write(path, f"{program}\n{line}\n")
    return line


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it is larger than {MAX_FILE_BYTES} bytes")
    return data.decode()


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text.encode())
    except OSError as error:
        raise HomeError(f"cannot write {path}: {error.strerror}") from None


def steered_words(rationale: str) -> str:
    """What a finding says of the steering it was proposed under; empty without any."""
    return rationale.rpartition(REMARK)[2].removesuffix(".") if REMARK in rationale else ""


# --- while the node runs ------------------------------------------------------------------------------------------


@dataclass
class Helm:
    """What is steered now. `look` reads both files again and says what changed; a file that cannot be read changes
    nothing, and is complained of once."""

    files: SteeringFiles
    brief: Brief
    events: Events
    steering: Steering = field(default_factory=Steering)
    program: str = ""
    _changes: list[str] = field(default_factory=list[str])
    _complaints: dict[Path, str] = field(default_factory=dict[Path, str])

    @classmethod
    def take(cls, home: Home, brief: BriefId, document: Brief, events: Events) -> "Helm":
        """At a node's start: settle the files of this brief, and write program.md where there is none."""
        files = settle(home, brief, home.read_state().get("brief_id"))
        if not files.program.exists():
            _write(files.program, goal_of(document) + "\n")
        return cls(files, document, events, program=goal_of(document))

    def look(self) -> None:
        program = self._try(self.files.program, lambda: read_program(self.files.program, self.brief), self.program)
        found = self._try(self.files.steering, lambda: load_steering(self.files.steering, self.brief), self.steering)
        if program == self.program and found == self.steering:
            return
        if program != self.program:
            self._changes.append("program.md was edited")
        self.program, self.steering = program, found
        self.events.emit(
            Steered(
                pin=dict(found.pins),
                ban=found.bans,
                ban_values={name: list(many) for name, many in found.banned_values.items()},
                program_edited=self.program_edited,
                words=found.words(),
            )
        )

    def _try(self, path: Path, read: Callable[[], T], otherwise: T) -> T:
        try:
            found = read()
        except SwarmError as error:
            if self._complaints.get(path) != str(error):
                self._complaints[path] = str(error)
                self.events.notice(f"{error}; what was steered before stays", warning=True)
            return otherwise
        self._complaints.pop(path, None)
        return found

    @property
    def program_edited(self) -> bool:
        return self.program != goal_of(self.brief)

    @property
    def goal(self) -> str:
        """For whoever is asked for an idea: the program, and what would be overruled."""
        words = self.steering.words()
        return f"{self.program}\n\nThe owner of this node has {words}." if words else self.program

    def remark(self) -> str:
        """What a finding should say of its steering, each change of program.md once."""
        changed, self._changes = self._changes, []
        parts = [*dict.fromkeys(changed), *([self.steering.words()] if self.steering else [])]
        return f"{REMARK}{'; '.join(parts)}." if parts else ""
