"""What a replay says about its finding: can the scores be of the same thing, and how far apart are the curves.

Pure. The rule is swarm's (`agree`, `MAX_CURVE_DEVIATION`); here are its numbers for one replay and the
words for people.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, sqrt
from statistics import fmean

from swarm.brief import Acceptance
from swarm.ledger import Entry, Ledger, ReplayEntry
from swarm.replay import MAX_CURVE_DEVIATION
from swarm.trial import CurvePoint, reported
from swarm.verdict import agree
from swarm.words import Outcome, Standing

MOST_NATS = 1e6  # apart; farther is no farther


@dataclass(frozen=True, slots=True)
class Agreement:
    """One replay beside its finding. None: there is nothing to compare, or the numbers would not compare."""

    outcome_agrees: bool | None  # ended as the finding says; None of one that did not come to its end
    claimed: float | None  # mean of the finding's trials
    claimed_trials: int
    replayed: float | None
    difference: float | None  # replayed minus claimed: positive is worse than claimed
    allowed: float | None  # so far may it be from the claim, either way
    agrees: bool | None  # the scores, of a replay over the whole budget
    curve_deviation: float | None  # nats: at equal steps of a replay by steps, else at equal shares of the budget
    curve_agrees: bool | None  # only of a replay by steps: else the pace was the machine's

    @property
    def verdict(self) -> bool | None:
        """In one word, of what was asked for."""
        if self.curve_agrees is not None:
            return self.curve_agrees
        return self.agrees if self.agrees is not None else self.outcome_agrees


def agreement(ledger: Ledger, acceptance: Acceptance, entry: Entry, one: ReplayEntry) -> Agreement:
    replay, first = one.replay, entry.finding
    whole = replay.steps is None and replay.key == first.proposal.key and replay.trial.track == first.track
    claimed, replayed = reported(first.trials), replay.trial.val_bpb if whole else None
    difference = allowed = agrees = None
    if whole and claimed and replayed is not None:
        noise = ledger.noise(first.track, one.author)
        difference = replayed - fmean(claimed)
        allowed = acceptance.z * noise.sd * sqrt(1 / len(claimed) + 1)
        agrees = agree(claimed, (replayed,), noise, acceptance)
    says_something = first.outcome not in (Outcome.CANCELLED, Outcome.CENSORED)
    by_share = share_deviation(first.trials[0].curve, replay.trial.curve) if whole else None
    return Agreement(
        outcome_agrees=replay.trial.outcome is first.outcome if whole and says_something else None,
        claimed=fmean(claimed) if claimed else None,
        claimed_trials=len(claimed),
        replayed=replayed,
        difference=difference,
        allowed=allowed,
        agrees=agrees,
        curve_deviation=by_share if replay.steps is None else replay.curve_deviation,
        curve_agrees=replay.curve_agrees,
    )


def share_deviation(first: tuple[CurvePoint, ...], second: tuple[CurvePoint, ...]) -> float | None:
    """Largest difference of train loss at equal seconds of one budget, in nats; None where the two do not overlap."""
    apart = [
        bounded(abs(point.train_loss - there))
        for point in first
        if (there := _loss_at(second, point.seconds)) is not None
    ]
    return max(apart) if apart else None


def bounded(nats: float) -> float:
    """A number that a record and JSON can hold, whatever losses a stranger's curve names."""
    return min(nats, MOST_NATS) if isfinite(nats) else MOST_NATS


def _loss_at(curve: tuple[CurvePoint, ...], seconds: float) -> float | None:
    for before, after in pairwise(curve):
        if before.seconds <= seconds <= after.seconds:
            between = after.seconds - before.seconds
            share = (seconds - before.seconds) / between if between else 0.0
            return before.train_loss + share * (after.train_loss - before.train_loss)
    return None


def sentence(entry: Entry, one: ReplayEntry, found: Agreement, standing: Standing) -> str:
    """What came of a replay, on one line."""
    replay, claim = one.replay, entry.finding
    if replay.steps is not None:
        return f"{_curve_words(found)}, by its first {replay.steps} steps"
    if found.agrees is not None:
        assert found.replayed is not None
        evidence = "" if replay.trial.counts else f", but the machine was {replay.trial.condition}: it does not count"
        return (
            f"{found.replayed:.4f} against {found.claimed:.4f} claimed, ±{found.allowed:.4f} allowed: "
            f"{'agrees' if found.agrees else 'does not agree'}{evidence}; it is {standing}"
        )
    reason = f" ({replay.trial.reason})" if replay.trial.reason else ""
    against = "as the finding says" if found.outcome_agrees else f"the finding says {claim.outcome}"
    return f"it ended {replay.trial.outcome}{reason}, {against}"


def _curve_words(found: Agreement) -> str:
    if found.curve_deviation is None:
        return "it came to no step that the first run reported: nothing to compare"
    word = "agrees" if found.curve_agrees else "does not agree"
    return f"the loss curve {word}: at most {found.curve_deviation:.2g} nats apart, {MAX_CURVE_DEVIATION:g} allowed"
