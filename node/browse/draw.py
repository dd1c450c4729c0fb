"""Pages: each takes a sight and what was asked, and gives its facts and, if wanted, its HTML.

Owns which picture and which template belong to which facts. A page is made in one go, in a thread, while nothing else
reads the catalogue.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from node.browse import facts, run_facts
from node.browse.asked import Asked
from node.browse.blocks import blocks
from node.browse.column import COLUMNS, CONFIG, DEFAULT
from node.browse.pages import render
from node.browse.patches import MAX_COLOURED_IN_ALL, patch_lines
from node.browse.pictures import Curves, Progress, curves, progress, spark
from node.browse.question import read_question, shown_columns
from node.browse.reading import Sight
from node.browse.row import Row
from node.browse.tree import Knot, tree
from node.browse.words import WORDS
from swarm.trial import Track
from swarm.words import PeerId

Json = dict[str, Any]  # Any: a JSON document
Drawn = Mapping[str, object]  # what a template needs beside the facts
WIDE, WHOLE, SMALL, PHONE = (880, 310), (1240, 340), (560, 250), (380, 260)  # pixels; what is too large shrinks


def overview(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    made, track = facts.overview(sight), _track(sight, asked)
    made["progress"] = _progress_points(sight, track) if asked.get("progress") else None
    return made, {"progress": _progress(sight, track), "track": track, **_now(made["now"])}


def now_part(sight: Sight, _asked: Asked) -> tuple[Json, Drawn]:
    made = {"now": facts.now(sight)}
    return made, _now(made["now"])


def runs(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    settings = sight.catalogue.brief.space.parameters
    question = read_question(asked.pairs, settings)
    made = facts.runs(sight, question)
    names = {peer: rows[-1].node_name for peer, rows in sight.catalogue.peers().items()}
    return made, {
        "question": question,
        "columns": shown_columns(question, settings),
        "every_column": [*COLUMNS.values()],
        "settings": [f"{CONFIG}{name}" for name in settings],
        "default_columns": DEFAULT,
        "names": names,
        "topics_pairs": [("topic", asked.topic)] if asked.topic else [],
    }


def run(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    made = run_facts.run(sight, asked.name)
    path = [row.id for row in sight.catalogue.path(_row(sight, made["id"]))]
    return made, {
        "curves": _curves([(f"#{made['number']}", made["curve"])], made["budget_seconds"], SMALL),
        "patch": patch_lines(made["patch"]),
        "depth": len(path),
        "results": str(sight.home.results),
        "own": made["peer"] == sight.catalogue.me,
        "imported": sight.archive.imported,
    }


def compare(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    made = run_facts.compare(sight, asked.all("run"))
    listed: list[Json] = made["runs"]
    named = [(f"{one['node_name']} #{one['number']}", made["curves"][one["id"]]) for one in listed]
    budget = max((one["budget_seconds"] for one in listed), default=None)
    diffs: list[Json] = made["sources"]
    return made, {
        "curves": _curves(named, budget, WHOLE),
        "patches": [(one, patch_lines(one["diff"], MAX_COLOURED_IN_ALL // len(diffs))) for one in diffs],
        "by_id": {one["id"]: one for one in listed},
    }


def lineage(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    catalogue, track = sight.catalogue, _track(sight, asked)
    best = catalogue.best(catalogue.of_track(track)) if track else None
    goal = _row(sight, run_facts.find(sight, focus)) if (focus := asked.get("focus")) else best
    if goal is not None:
        track = goal.track
    drawn = tree(catalogue, track, goal) if track else None
    knots = drawn.knots if drawn else ()
    made: Json = {
        "hardware_class": track.hardware_class if track else None,
        "budget_seconds": track.budget_seconds if track else None,
        "goal": goal.id if goal else None,
        "path": [facts.row_json(sight, row) for row in catalogue.path(goal)] if goal else [],
        "knots": [_knot_json(knot) for knot in knots],
        "left_out": drawn.left_out if drawn else 0,
    }
    colours = {knot.row.peer: (knot.colour, knot.row.node_name) for knot in knots}
    chosen = {"goal": goal, "best": best, "track": track, "tracks": catalogue.tracks()}
    return made, {"tree": drawn, "colours": colours, **chosen}


def _knot_json(knot: Knot) -> Json:
    row = knot.row
    return {"id": row.id, "parent": row.parent, "inspirations": list(row.inspirations), "tried": knot.tried}


def nodes(sight: Sight, _asked: Asked) -> tuple[Json, Drawn]:
    sparks = {peer: _score_spark(rows) for peer, rows in sight.catalogue.peers().items()}
    return facts.nodes(sight), {"sparks": sparks}


def node(sight: Sight, asked: Asked) -> tuple[Json, Drawn]:
    made = facts.node(sight, asked.name, asked.number("page"))
    rows = sight.catalogue.peers().get(PeerId(asked.name), [])
    track = rows[-1].track if rows else None

    def page_link(number: int) -> str:
        return asked.link(f"/nodes/{quote(asked.name, safe='')}", page=number)

    return made, {"progress": _progress(sight, track, PeerId(asked.name), WHOLE), "page_link": page_link}


def topic(sight: Sight, _asked: Asked) -> tuple[Json, Drawn]:
    made = facts.topic(sight)
    return made, {
        "blocks": list(blocks(made["goal"])),
        "program_changes": _changed_lines(made["goal"], made["program"] or made["goal"]),
        "steer_command": "swarm steer --pin SETTING=VALUE --ban SETTING --say 'TEXT'",
        "words_of_the_page": WORDS,
    }


def _changed_lines(before: str, after: str) -> list[tuple[str, str]]:
    """Paragraphs and items that one text has and the other has not: added ones first."""
    old, new = ([line for block in blocks(text) for line in block.lines] for text in (before, after))
    return [("added", line) for line in new if line not in set(old)] + [
        ("removed", line) for line in old if line not in set(new)
    ]


PAGES: Mapping[str, Callable[[Sight, Asked], tuple[Json, Drawn]]] = {
    "overview": overview, "now": now_part, "runs": runs, "run": run, "compare": compare, "lineage": lineage,
    "nodes": nodes, "node": node, "topic": topic,
}  # fmt: skip


def facts_of(sight: Sight, asked: Asked) -> Json:
    return PAGES[asked.page](sight, asked)[0]


def html_of(sight: Sight, asked: Asked) -> str:
    """The page; while the journal is still being read, how far that is."""
    if sight.behind:
        return render("reading.html", **_common(sight, asked), facts={"read": sight.read, "behind": sight.behind})
    made, drawn = PAGES[asked.page](sight, asked)
    template = "_now.html" if asked.page == "now" else f"{asked.page}.html"
    return render(template, **_common(sight, asked), facts=made, **drawn)


def _common(sight: Sight, asked: Asked) -> Json:
    return {
        "asked": asked,
        "link": asked.link,
        "page": asked.page,
        "topic_name": sight.catalogue.brief.name,
        "topics": sight.topics,
        "brief_id": sight.catalogue.brief_id,
        "private": sight.home.is_private(sight.catalogue.brief_id),
        "revision": sight.catalogue.revision,
    }


# --- pieces -------------------------------------------------------------------------------------------------------


def _row(sight: Sight, id: str) -> Row:
    row = sight.catalogue.row(run_facts.find(sight, id))
    assert row is not None, f"{id} was found a moment ago"
    return row


def _track(sight: Sight, asked: Asked) -> Track | None:
    return facts.chosen_track(sight, asked.get("class"), asked.get("budget"))


def _progress(
    sight: Sight, track: Track | None, peer: PeerId | None = None, size: tuple[int, int] = WIDE
) -> list[Progress]:
    """For a desk and for a phone; empty if there is nothing to draw."""
    rows = sight.catalogue.of_track(track, peer) if track else []
    drawn = (progress(rows, sight.catalogue.interval, *one) for one in (size, PHONE))
    return [one for one in drawn if one is not None]


def _curves(
    found: Sequence[tuple[str, Sequence[Sequence[float]]]], budget_seconds: float | None, size: tuple[int, int]
) -> list[Curves]:
    drawn = (curves(found, budget_seconds, *one) for one in (size, PHONE))
    return [one for one in drawn if one is not None]


def _progress_points(sight: Sight, track: Track | None) -> Json:
    """What the picture's dots are, in its order: for programs, and for the script that names the dot one points at."""
    rows = sight.catalogue.of_track(track) if track else []
    return {
        "id": [row.id[:16] for row in rows],
        "val_bpb": [row.mean for row in rows],
        "status": [row.status for row in rows],
        "name": [f"{row.node_name} #{row.number}" for row in rows],
        "title": [row.title for row in rows],
    }


def _now(now: Json) -> Drawn:
    current: Json = now["current"] or {}
    points: Sequence[Sequence[float]] = current.get("curve") or []
    drawn = curves([("now", points)], current.get("budget_s"), 420, 180)
    spent = float(current.get("seconds") or 0.0)
    return {
        "live": [drawn] if drawn else [],
        "left": max(0.0, float(current.get("budget_s") or 0.0) - spent),
        "spent": spent,
    }


def _score_spark(rows: Sequence[Row]) -> str:
    """Of the best so far, which only goes down."""
    best, found = None, list[float]()
    for row in rows:
        if row.kept and row.mean is not None and (best is None or row.mean < best):
            best = row.mean
        if best is not None:
            found.append(best)
    stride = max(1, len(found) // 48)
    return spark(found[::stride])
