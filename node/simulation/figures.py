"""Figures of a run, and whether what must hold did: honest ledgers are equal, and nothing is missing.

Owns what each figure means; docs/scale.md and docs/cli.md say it for people. Figures are plain numbers, so that runs
can be compared.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from gossip.traffic import Kind
from node.simulation.observation import Made
from node.simulation.world import Run
from swarm.words import FindingId, Standing

Figures = dict[str, float]
LOWER_IS_BETTER = (
    "missing_findings",
    "unequal_ledgers",
    "latency_p50_s",
    "latency_p99_s",
    "news_latency_p99_s",
    "redundancy",
    "kilobytes_per_node_hour",
    "messages_per_node_hour",
    "best_bpb",
    "hours_to_best",
    "duplicate_share",
    "lies_adopted",
    "lies_confirmed",
)
HIGHER_IS_BETTER = ("delivery", "findings", "lies_refuted")


@dataclass(frozen=True)
class Result:
    """One run, looked at at its end."""

    scenario: str
    seed: int
    figures: Figures
    curve: tuple[tuple[float, float], ...]  # hours, bits per byte of the swarm's best without noise
    notices: dict[str, int]
    trace: str

    @property
    def holds(self) -> bool:
        return self.figures["missing_findings"] == 0 and self.figures["unequal_ledgers"] == 0


def look(run: Run) -> Result:
    """While everybody is still there."""
    seen = run.observation
    figures = _reach(run) | _traffic(run) | _search(run) | _lies(run)
    curve = tuple((round(hours, 4), round(bpb, 6)) for hours, bpb in seen.best)
    return Result(run.scenario.name, run.seed, figures, curve, dict(sorted(seen.notices.items())), seen.trace)


def percentile(numbers: Sequence[float], share: float) -> float:
    """0 of nothing."""
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0


def _reach(run: Run) -> Figures:
    """What everybody who is still in the swarm has of what the honest found; and whether all have the same."""
    seen, there = run.observation, [member for member in run.honest if not member.gone]
    ledgers = [frozenset(entry.id for entry in member.notebook.ledger.entries()) for member in there]
    lost = {member.number for member in run.honest if member.gone}
    known_to_any = frozenset[FindingId]().union(*ledgers)
    # What a node took with it when it died for good, before anybody had heard of it, is nobody's to have.
    expected = {id for id, m in seen.made.items() if m.honest and (m.member not in lost or id in known_to_any)}
    missing = sum(len(expected - ledger) for ledger in ledgers)
    wanted = len(expected) * len(ledgers)
    return {
        "nodes": float(len(run.honest)),
        "findings": float(len(expected)),
        "delivery": 1.0 - missing / wanted if wanted else 1.0,
        "missing_findings": float(missing),
        "unequal_ledgers": float(sum(ledger != ledgers[0] for ledger in ledgers)),
        "died_unheard": float(sum(m.honest for m in seen.made.values()) - len(expected)),
        "latency_p50_s": percentile(seen.latencies, 0.50),
        "latency_p99_s": percentile(seen.latencies, 0.99),
        "news_latency_p50_s": percentile(seen.news_latencies, 0.50),
        "news_latency_p99_s": percentile(seen.news_latencies, 0.99),
    }


def _traffic(run: Run) -> Figures:
    """Of honest nodes, in and out together."""
    hours = sum(member.lived_so_far for member in run.honest) / 3600
    flows = [flow for m in run.honest for one in m.traffics for flow in one.totals.values()]
    broadcast = [one.totals[Kind.BROADCAST] for m in run.honest for one in m.traffics]
    claims = sum(m.count().get("bus.claims_in", 0) for m in run.honest)
    arrived = sum(flow.messages_in for flow in broadcast) - claims
    new = sum(m.count().get("admission.accepted", 0) for m in run.honest)
    return {
        "kilobytes_per_node_hour": sum(f.bytes_in + f.bytes_out for f in flows) / 1000 / hours if hours else 0.0,
        "messages_per_node_hour": sum(f.messages_in + f.messages_out for f in flows) / hours if hours else 0.0,
        "redundancy": arrived / new if new else 0.0,  # times that a broadcast record came
    }


def _search(run: Run) -> Figures:
    honest = [made for made in run.observation.made.values() if made.honest]
    best = run.observation.best
    goal = best[-1][1] + run.members[0].around.brief.acceptance.noise_sd if best else 0.0
    return {
        "trials": float(sum(made.trials for made in honest)),
        "best_bpb": best[-1][1] if best else 0.0,
        "hours_to_best": next((hours for hours, bpb in best if bpb <= goal), 0.0),
        "duplicate_share": _duplicates(honest) / len(honest) if honest else 0.0,
    }


def _duplicates(honest: Sequence[Made]) -> int:
    """Findings of what somebody else had found on the same track. The baseline is everybody's to run."""
    first: dict[tuple[str, str], int] = {}
    found = 0
    baseline = honest[0].key
    for made in sorted(honest, key=lambda m: m.at):
        owner = first.setdefault((made.key, made.track.hardware_class), made.member)
        found += owner != made.member and made.key != baseline
    return found


def _lies(run: Run) -> Figures:
    """Lies: improvements of who does not play fair. Adopted: an honest node kept something that it took from one, and
    that is worse than what it had been told. Standings are those that an honest node computes."""
    seen, ledger = run.observation, run.honest[-1].notebook.ledger
    lies = {id for id, m in seen.made.items() if not m.honest and m.kept and id not in seen.copied}
    standings = [ledger.standing(entry) for id in sorted(lies) if (entry := ledger.get(id)) is not None]
    taken = [m for m in seen.made.values() if m.honest and m.combined and m.inspired_by and m.inspired_by[-1] in lies]
    return {
        "lies": float(len(lies)),
        "lies_refuted": float(sum(one in (Standing.DISPUTED, Standing.REFUTED) for one in standings)),
        "lies_confirmed": float(sum(one is Standing.CONFIRMED for one in standings)),
        "lies_tried": float(len(taken)),
        "lies_adopted": float(sum(m.kept for m in taken)),
        "copies": float(len(seen.copied)),
    }


def together(results: Sequence[Result]) -> Figures:
    """Means over seeds; of what must be 0, the worst."""
    worst = ("missing_findings", "unequal_ledgers")
    return {
        name: max(r.figures[name] for r in results) if name in worst else fmean(r.figures[name] for r in results)
        for name in results[0].figures
    }
