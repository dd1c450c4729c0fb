"""Why something from outside was not taken, and the one error class of this package.

Every refusal has a reason that is counted. What a reason means for the peer that sent it is its answer.
"""

from dataclasses import dataclass
from enum import StrEnum


class GossipError(Exception):
    """An expected failure of the network side. The message is one sentence for a person: what, where, what to do."""


class Answer(StrEnum):
    """What becomes of a record that was broadcast to us."""

    ACCEPT = "accept"  # keep it and pass it on
    REJECT = "reject"  # the bytes prove that they should never have been sent: drop
    IGNORE = "ignore"  # not wanted here or now, nobody's fault: drop


class RefusalReason(StrEnum):
    OVERSIZE = "oversize"
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    WRONG_BRIEF = "wrong_brief"
    UNKNOWN_VERSION = "unknown_version"  # a newer protocol's record
    RATE_OF_FORWARDER = "rate_of_forwarder"
    RATE_OF_AUTHOR = "rate_of_author"
    RATE_OF_ASKER = "rate_of_asker"  # of catch-up requests
    DUPLICATE = "duplicate"
    INBOX_FULL = "inbox_full"  # we are slower than the swarm; catch-up brings it later
    KNOWN = "known"  # the store has it already
    EQUIVOCATION = "equivocation"  # it contradicts another record of its author: together they are the proof
    AUTHOR_EQUIVOCATED = "author_equivocated"  # its author was proven to contradict itself
    AUTHOR_DENIED = "author_denied"  # a person said so
    AUTHOR_NOT_ALLOWED = "author_not_allowed"  # a person named all who are allowed
    PEER_BARRED = "peer_barred"  # whoever sent it is denied, not allowed or banned, and about to be dropped
    CONTENT = "content"  # the payload breaks a rule of the brief
    CLAIM_TIME = "claim_time"  # a claim's author has a wrong clock, or somebody repeats an old one
    CLAIM_OF_NOBODY = "claim_of_nobody"  # its author has no record here; nobody would heed it
    CLAIMS_FULL = "claims_full"  # more claims than are passed on; they are for advice only
    PAGE_MALFORMED = "page_malformed"  # a catch-up answer is not one
    PAGE_ENDLESS = "page_endless"  # a catch-up answer claims more and brings nothing new


_REJECTED = {
    RefusalReason.OVERSIZE,
    RefusalReason.MALFORMED,
    RefusalReason.BAD_SIGNATURE,
    RefusalReason.WRONG_BRIEF,
    RefusalReason.CONTENT,
    RefusalReason.PAGE_MALFORMED,
    RefusalReason.PAGE_ENDLESS,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One thing not taken: why, and a sentence for whoever asks."""

    reason: RefusalReason
    sentence: str

    @property
    def answer(self) -> Answer:
        return Answer.REJECT if self.reason in _REJECTED else Answer.IGNORE


class Refused(GossipError):
    """Raised where bytes from outside are opened."""

    def __init__(self, reason: RefusalReason, sentence: str) -> None:
        super().__init__(sentence)
        self.refusal = Refusal(reason, sentence)

    @property
    def reason(self) -> RefusalReason:
        return self.refusal.reason
