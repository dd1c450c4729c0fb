"""What the language models of a home have cost, and the caps that end it.

Owns the file spending.jsonl of the home: one line for each question, one for each finding that came of some. It is only
ever appended to, so that a kill loses at most its last line. Caps are looked at before each question: what goes beyond
one is the rest of one answer.
"""

import json
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import trio

from node.clock import rfc3339, wall_clock
from node.proposers.prices import Prices, price_of
from swarm.words import FindingId

MAX_COUNT = 10**12  # tokens in one line; more is damage


@dataclass(frozen=True)
class Usage:
    """Questions asked and what they took. `cost_usd` is None as soon as one of them had no known price."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost_usd: float | None = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        known = self.cost_usd is not None and other.cost_usd is not None
        cost = cast("float", self.cost_usd) + cast("float", other.cost_usd) if known else None
        return Usage(
            self.calls + other.calls, self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out, cost
        )

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def as_json(self) -> dict[str, Any]:  # Any: a JSON document
        cost = None if self.cost_usd is None else round(self.cost_usd, 6)
        return {"calls": self.calls, "tokens_in": self.tokens_in, "tokens_out": self.tokens_out, "cost_usd": cost}


@dataclass(frozen=True)
class Caps:
    """What may be spent; None: no cap. Days are those of UTC."""

    cost_usd: float | None = None
    cost_usd_per_day: float | None = None
    tokens: int | None = None
    tokens_per_day: int | None = None

    @property
    def of_cost(self) -> bool:
        return self.cost_usd is not None or self.cost_usd_per_day is not None


NO_CAPS = Caps()


@dataclass
class Totals:
    """What spending.jsonl says."""

    known_cost_usd: float = 0.0  # of the questions that had a price
    total: Usage = Usage()
    by_day: dict[str, Usage] = field(default_factory=dict[str, Usage])
    by_finding: dict[FindingId, Usage] = field(default_factory=dict[FindingId, Usage])
    known_cost_by_day: dict[str, float] = field(default_factory=dict[str, float])

    def add(self, day: str, usage: Usage) -> None:
        self.total += usage
        self.by_day[day] = self.by_day.get(day, Usage()) + usage
        self.known_cost_usd += usage.cost_usd or 0.0
        self.known_cost_by_day[day] = self.known_cost_by_day.get(day, 0.0) + (usage.cost_usd or 0.0)


def read_spending(path: Path | None) -> Totals:
    """What has been spent so far. A line that does not read, a torn last one, is passed over."""
    totals = Totals()
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path is not None else []
    except OSError:
        return totals
    for line in lines:
        try:
            said: object = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and (usage := _usage(table := cast("dict[str, object]", said))) is not None:
            if isinstance(finding := table.get("finding"), str):
                totals.by_finding[FindingId(finding)] = usage
            else:
                totals.add(str(table.get("at", ""))[:10], usage)
    return totals


def _usage(said: dict[str, object]) -> Usage | None:
    counts = [said.get(name, 1) for name in ("calls", "tokens_in", "tokens_out")]
    cost = said.get("cost_usd")
    if not all(isinstance(n, int) and 0 <= n < MAX_COUNT for n in counts):
        return None
    if cost is not None and not (isinstance(cost, int | float) and 0 <= cost < MAX_COUNT):
        return None
    calls, tokens_in, tokens_out = cast("list[int]", counts)
    return Usage(calls, tokens_in, tokens_out, None if cost is None else float(cast("float", cost)))


class Spending:
    """Charges each question, and says when a cap is reached."""

    def __init__(self, path: Path | None = None, caps: Caps | None = None, prices: Prices | None = None) -> None:
        self._path = path
        self._caps = caps or NO_CAPS
        self._prices = prices or {}
        self.totals = read_spending(path)
        self._turn = trio.Lock()
        self._open: dict[str, Usage] = {}  # of proposals that are no findings yet, by Proposal.key

    @property
    def turn(self) -> AbstractAsyncContextManager[object]:
        """Held while a question is asked: with caps one at a time, or two would go beyond a cap together."""
        return self._turn if self._caps != NO_CAPS else nullcontext()

    @property
    def taken(self) -> bool:
        """Whether somebody else is asking who must be waited for."""
        return self._turn.locked()

    def has_price(self, model: str) -> bool:
        return price_of(model, self._prices) is not None

    def charge(self, model: str, by: str, tokens_in: int, tokens_out: int) -> Usage:
        """One question's. Written at once; on a full disk it still counts until the next start."""
        price = price_of(model, self._prices)
        usage = Usage(1, tokens_in, tokens_out, None if price is None else price.of(tokens_in, tokens_out))
        at = rfc3339(wall_clock())
        self.totals.add(at[:10], usage)
        self._append({"at": at, "model": model, "by": by} | usage.as_json())
        return usage

    def reached(self) -> str | None:
        """The sentence about a cap that is reached; None: the next question may be asked."""
        caps, totals = self._caps, self.totals
        day = rfc3339(wall_clock())[:10]
        today, cost_today = totals.by_day.get(day, Usage()), totals.known_cost_by_day.get(day, 0.0)
        for cap, spent, option in (
            (caps.cost_usd, totals.known_cost_usd, "--max-cost"),
            (caps.cost_usd_per_day, cost_today, "--max-cost-per-day"),
        ):
            if cap is not None and spent >= cap:
                return f"the language model has cost ${spent:.4f}, and {option} allows ${cap:g}"
        for cap, spent, option in (
            (caps.tokens, totals.total.tokens, "--max-tokens"),
            (caps.tokens_per_day, today.tokens, "--max-tokens-per-day"),
        ):
            if cap is not None and spent >= cap:
                return f"the language model has taken {spent} tokens, and {option} allows {cap}"
        return None

    # From proposals to findings

    def remember(self, key: str, usage: Usage) -> None:
        """What a proposal took, until it is a finding."""
        self._open[key] = usage

    def moved(self, before: str, after: str) -> None:
        """A proposal was carried over to another parent: it runs something else now, and cost the same."""
        if before != after and (usage := self._open.pop(before, None)) is not None:
            self._open[after] = usage

    def of_proposal(self, key: str) -> Usage | None:
        return self._open.get(key)

    def settle(self, key: str, finding: FindingId) -> None:
        """The proposal is a finding now."""
        if (usage := self._open.pop(key, None)) is not None:
            self.totals.by_finding[finding] = usage
            self._append({"finding": finding} | usage.as_json())

    def _append(self, line: dict[str, Any]) -> None:  # Any: a JSON document
        if self._path is None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            return  # the room is watched elsewhere
