"""What a person asks of the table of runs, as it stands in the address of the page: read from there, written back.

The address is all the memory the table has: a bookmark, a reload or a link in a chat shows the same rows. Whatever
cannot be understood in it is left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from node.browse.catalogue import FACETS, facet
from node.browse.column import DEFAULT, Column, column, sort_rows
from node.browse.row import Row
from swarm.trial import Track

PER_PAGE = 50
MOST_PER_PAGE = 500
MAX_WORDS = 8  # of a search
MAX_CHOICES = 64  # of one list
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Question:
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])  # by facet
    text: str = ""
    sort: str = "when"
    descending: bool = True
    columns: tuple[str, ...] = DEFAULT
    page: int = 1
    per_page: int = PER_PAGE

    def pairs(self, **changes: Any) -> list[tuple[str, str]]:
        """As parameters of an address, without what goes without saying. `changes`: of the fields."""
        other = replace(self, **changes)
        made = [(name, value) for name in FACETS for value in other.chosen.get(name, ())]
        made += [("q", other.text)] if other.text else []
        made += [("sort", f"{'-' * other.descending}{other.sort}")] if (other.sort, other.descending) != FIRST else []
        made += [("cols", ",".join(other.columns))] if other.columns != DEFAULT else []
        made += [("per", str(other.per_page))] if other.per_page != PER_PAGE else []
        return made + ([("page", str(other.page))] if other.page > 1 else [])

    def without(self, name: str, value: str) -> list[tuple[str, str]]:
        """With one filter less."""
        left = {n: tuple(v for v in values if (n, v) != (name, value)) for n, values in self.chosen.items()}
        return self.pairs(chosen=left, page=1)

    def only(self, track: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Of one hardware class and budget, as the page's JSON names them."""
        fixed = {"class": (track["hardware_class"],), "budget": (f"{track['budget_seconds']:g}",)}
        return self.pairs(chosen={**self.chosen, **fixed}, page=1)


FIRST = ("when", True)  # how the table is sorted when nothing is said


def read_question(pairs: Pairs, settings: Iterable[str]) -> Question:
    known = set(settings)
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value[:200])
    sort = _last(given, "sort") or "-when"
    sort, descending = sort.removeprefix("-"), sort.startswith("-")
    if column(sort, known) is None:
        sort, descending = FIRST
    asked = [part for text in given.get("cols", ()) for part in text.split(",")] + given.get("col", [])
    columns = tuple(dict.fromkeys(name for name in asked if column(name, known) is not None))
    return Question(
        chosen={
            n: tuple(dict.fromkeys(v for v in given[n] if v))[:MAX_CHOICES] for n in FACETS if any(given.get(n, ()))
        },
        text=" ".join(_last(given, "q").split())[:200],
        sort=sort,
        descending=descending,
        columns=columns or DEFAULT,
        page=_number(_last(given, "page"), 1, 10**6),
        per_page=_number(_last(given, "per"), PER_PAGE, MOST_PER_PAGE),
    )


def select(rows: Iterable[Row], question: Question) -> list[Row]:
    """The rows that fit: every word of the text, and one choice of each list."""
    words = question.text.lower().split()[:MAX_WORDS]
    chosen = {name: frozenset(values) for name, values in question.chosen.items() if values}
    return [
        row
        for row in rows
        if all(facet(row, name) in values for name, values in chosen.items())
        and all(word in row.text for word in words)
    ]


def answer(rows: Iterable[Row], question: Question, settings: Iterable[str]) -> tuple[list[Row], list[Row], int]:
    """The rows of the page that is asked for, all that fit, and the number of that page."""
    by = column(question.sort, settings)
    assert by is not None, question.sort
    found = sort_rows(select(rows, question), by, descending=question.descending)
    last = max(1, -(-len(found) // question.per_page))
    page = min(question.page, last)
    return found[(page - 1) * question.per_page : page * question.per_page], found, page


def tracks_of(rows: Iterable[Row]) -> list[tuple[Track, int]]:
    """Hardware classes and budgets, the busiest first: numbers of two of them do not compare."""
    tracks = [row.track for row in rows]
    known = {id(track): track for track in tracks}  # a catalogue has one object for equal ones; comparing is slow
    return [(known[one], n) for one, n in Counter(map(id, tracks)).most_common()]


def shown_columns(question: Question, settings: Iterable[str]) -> list[Column]:
    known = set(settings)
    found = (column(name, known) for name in question.columns)
    return [one for one in found if one is not None]


def _last(given: Mapping[str, list[str]], name: str) -> str:
    return given[name][-1] if given.get(name) else ""


def _number(text: str, otherwise: int, most: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        return otherwise
    return max(1, min(int(text), most))
