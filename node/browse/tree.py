"""The tree of runs of one track, laid out for drawing: kept runs as knots, what was tried from each as a number.

Pure. Thousands of runs that were not kept would hide the few that lead somewhere; they are counted on their parent and
are a click away. A run that took its change from a peer hangs below its own parent, with a second line from the peer's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from node.browse.catalogue import Catalogue
from node.browse.row import Row
from swarm.trial import Track
from swarm.words import FindingId

MAX_KNOTS = 400  # the newest; more than that nobody reads
STEP_X, STEP_Y, LEFT, TOP = 46, 24, 18, 18
MAX_DEPTH_DRAWN = 120


@dataclass(frozen=True)
class Knot:
    row: Row
    x: float
    y: float
    depth: int
    tried: int  # runs that were made from it
    failed: int  # of those, the ones without a number
    on_path: bool  # to the best, or to the run that is looked at
    colour: int  # of its node, from 1


@dataclass(frozen=True)
class Branch:
    path: str  # path data
    on_path: bool
    inspiration: bool


@dataclass(frozen=True)
class Tree:
    width: float
    height: float
    knots: tuple[Knot, ...]
    branches: tuple[Branch, ...]
    ends: tuple[Knot, ...]  # the last knot of each line, which has room for its title
    left_out: int


def tree(catalogue: Catalogue, track: Track, goal: Row | None) -> Tree:
    """`goal`: the run to which the path is shown."""
    path = catalogue.path(goal) if goal else []
    rows = _chosen(catalogue, track, path)
    known = {row.id for row in rows}
    parents = {row.id: _kept_parent(catalogue, row, known) for row in rows}
    below: dict[FindingId | None, list[Row]] = {}
    for row in rows:
        below.setdefault(parents[row.id], []).append(row)
    on_path = {row.id for row in path}
    places = _places(below, on_path)
    colours = {peer: n % 8 + 1 for n, peer in enumerate(sorted(catalogue.peers()))}
    knots = [_knot(catalogue, row, places[row.id], row.id in on_path, colours[row.peer]) for row in rows]
    all_kept = sum(row.kept for row in catalogue.of_track(track))
    return Tree(
        width=max((knot.x for knot in knots), default=0) + 420,
        height=max((knot.y for knot in knots), default=0) + TOP,
        knots=tuple(sorted(knots, key=lambda knot: (knot.y, knot.x))),
        branches=tuple(_branches(rows, parents, places, on_path)),
        ends=tuple({knot.y: knot for knot in sorted(knots, key=lambda knot: knot.x)}.values()),
        left_out=max(0, all_kept - sum(row.kept for row in rows)),
    )


def _chosen(catalogue: Catalogue, track: Track, path: Sequence[Row]) -> list[Row]:
    kept = [row for row in catalogue.of_track(track) if row.kept][-MAX_KNOTS:]
    there = {row.id for row in kept}
    return sorted([*kept, *(row for row in path if row.id not in there)], key=lambda row: (row.at_ms, row.seq, row.id))


def _kept_parent(catalogue: Catalogue, row: Row, known: set[FindingId]) -> FindingId | None:
    """The nearest ancestor that is drawn."""
    seen, current = {row.id}, row
    while current.parent is not None and current.parent not in seen:
        if current.parent in known:
            return current.parent
        seen.add(current.parent)
        before = catalogue.row(current.parent)
        if before is None:
            return None
        current = before
    return None


def _places(below: dict[FindingId | None, list[Row]], on_path: set[FindingId]) -> dict[FindingId, tuple[int, int]]:
    """Depth and line of each: one child goes on in its parent's line, every other one opens a new line below. The one
    is on the path, or has the most children: length would be better, and dearer."""
    places: dict[FindingId, tuple[int, int]] = {}
    line = 0
    for root in below.get(None, ()):
        waiting: list[tuple[Row, int, bool]] = [(root, 0, True)]
        while waiting:
            row, depth, new_line = waiting.pop()
            line += new_line
            places[row.id] = (depth, line)
            children = sorted(below.get(row.id, ()), key=lambda one: _first(one, below, on_path))
            waiting += [(child, depth + 1, at > 0) for at, child in reversed(list(enumerate(children)))]
    for rows in below.values():  # whose ancestors go round in a circle: a stranger can claim that of its own
        for row in rows:
            if row.id not in places:
                line += 1
                places[row.id] = (0, line)
    return places


def _first(row: Row, below: dict[FindingId | None, list[Row]], on_path: set[FindingId]) -> tuple[bool, int, int]:
    return row.id not in on_path, -len(below.get(row.id, ())), row.at_ms


def _knot(catalogue: Catalogue, row: Row, place: tuple[int, int], on_path: bool, colour: int) -> Knot:
    depth, line = place
    tried = catalogue.children(row.id)
    failed = sum(one.mean is None for one in tried)
    x = LEFT + min(depth, MAX_DEPTH_DRAWN) * STEP_X
    return Knot(row, x, TOP + (line - 1) * STEP_Y, depth, len(tried), failed, on_path, colour)


def _branches(
    rows: Iterable[Row],
    parents: dict[FindingId, FindingId | None],
    places: dict[FindingId, tuple[int, int]],
    on_path: set[FindingId],
) -> Iterable[Branch]:
    for row in rows:
        parent = parents[row.id]
        if parent is not None and parent in places:
            yield Branch(_line(places[parent], places[row.id]), row.id in on_path and parent in on_path, False)
        for id in row.inspirations[:4]:
            if id in places and id != parent and row.id in on_path:
                yield Branch(_line(places[id], places[row.id]), False, True)


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = (
        (LEFT + min(depth, MAX_DEPTH_DRAWN) * STEP_X, TOP + (line - 1) * STEP_Y) for depth, line in (start, end)
    )
    if y1 == y2:
        return f"M{x1} {y1}H{x2}"
    return f"M{x1} {y1}C{x1 + 16} {y1} {x1 + 6} {y2} {x1 + 30} {y2}H{x2}"
