"""Templates: facts in, HTML out. Owns how numbers look, and that every value is cleaned and escaped.

Whatever a template prints goes through `clean` first (escape sequences, directions, invisible characters) and is
escaped as HTML then, so that a forgotten filter cannot let foreign text through. Nothing here reads a file but
templates.
"""

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from node.browse.static_files import static
from node.text import clean
from swarm.words import short

MAX_TEXT = 200_000  # characters of one value
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


@cache
def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("node.browse"),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {  # Any: what Jinja hands over
        "bpb": bpb,
        "change": change,
        "around": around,
        "count": count,
        "seconds": seconds,
        "bytes": size,
        "percent": percent,
        "short": short,
        "setting": setting,
        "words": words,
        "by_day": by_day,
        "moment": moment,
        "day": day,
        "clock": clock,
        "iso": iso,
        "shell": shlex.quote,
        "part": part,
    }
    made.filters.update(filters)
    functions: dict[str, Any] = {"static": static}  # Any: Jinja's own names have types of their own
    made.globals.update(functions)
    return made


def render(template: str, **values: object) -> str:
    return environment().get_template(template).render(**values)


def _finalize(value: object) -> object:
    if isinstance(value, Markup):
        return value
    return clean(value, MAX_TEXT, lines=True) if isinstance(value, str) else value


# --- how numbers look ---------------------------------------------------------------------------------------------


def bpb(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def change(effect: float | None) -> str:
    """Of val_bpb against the parent: a minus is an improvement."""
    if effect is None:
        return "–"
    return f"{-effect:+.4f}".replace("-", "−") if abs(effect) < 1000 else f"{-effect:+.2g}".replace("-", "−")


def around(interval: float | None) -> str:
    if interval is None:
        return ""
    return f"±{interval:.4f}" if interval < 1000 else f"±{interval:.1g}"


def count(value: float | None) -> str:
    """'1,234', '12.3 k', '4.56 M': three digits that matter."""
    if value is None:
        return "–"
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):.3g} {unit}"
    return f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """'9.5 s', '2 min 05 s', '3 h 20 min'"""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    whole = int(value + 0.5)
    if whole < _MINUTE * 2:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min" + (f" {whole % _MINUTE:02d} s" if whole % _MINUTE else "")
    if whole < _DAY * 2:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole / _DAY:,.0f} d"


def size(value: float | None) -> str:
    if value is None:
        return "–"
    for limit, unit in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if value >= limit:
            return f"{value / limit:,.3g} {unit}" if value / limit < 1000 else f"{value / limit:,.0f} {unit}"
    return f"{value:,.0f} B"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def setting(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else clean(str(value), 200)


def iso(at_ms: int) -> str:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # an author may say any number
        return "1970-01-01T00:00:00Z"


def moment(at_ms: int, form: str = "%d %b %H:%M") -> str:
    """By the clock of the machine that serves the page."""
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone().strftime(form)
    except (ValueError, OverflowError, OSError):
        return "some time"


def day(at_ms: int) -> str:
    return moment(at_ms, "%A, %d %B %Y")


def clock(at_ms: int) -> str:
    return moment(at_ms, "%H:%M")


def words(text: str) -> str:
    return text.replace("_", " ")


def part(text: str) -> str:
    """As one part of an address's path."""
    return quote(text, safe="")


def by_day(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:  # Any: rows as JSON
    """Rows in their order, in groups that are of one day."""
    return [
        {"at_ms": found[0]["at_ms"], "rows": found}
        for _, group in groupby(rows, key=lambda row: moment(row["at_ms"], "%Y-%m-%d"))
        if (found := list(group))
    ]
