"""What peers send us, and who may: broadcasts on their way to the store, catch-up requests on their way to an answer.

One place decides who is kept out, and has them dropped. Connections themselves are the service's business, what a
record is worth admission's, how much is held against a peer the doorkeeper's.
"""

import itertools
from collections.abc import Callable, Mapping

import trio

from gossip import catchup
from gossip.admission import Admission, Admitted
from gossip.budgets import Budgets, Rate
from gossip.claims import Claim, ClaimAdmission, read_claim
from gossip.doorkeeper import Doorkeeper
from gossip.envelope import Record, open_frame
from gossip.events import GossipEvent, PeerBanned
from gossip.forks import Forks
from gossip.heard import Heard, RefusedRecords, Way
from gossip.inbox import Inbox
from gossip.refusal import Answer, Refusal, RefusalReason, Refused
from gossip.reputation import FOR_ANSWER, FOR_BROADCAST, FOR_OWN_FLOOD, FOR_REQUEST, Strikes
from gossip.store import RecordStore

_YIELD_EVERY = 16  # records between two chances for others to run
_BANS_SAID = Rate(per_second=1 / 600, burst=10)  # of very many peers, not each one's ban is news; a guess
_FULL = Refusal(RefusalReason.INBOX_FULL, "records come faster than they can be kept")
_BARRED = Refusal(RefusalReason.PEER_BARRED, "a peer that is denied, not allowed or banned")


class Intake:
    def __init__(
        self,
        *,
        store: RecordStore,
        forks: Forks,
        admission: Admission,
        doorkeeper: Doorkeeper,
        on_record: Callable[[Record, Heard], Refusal | None],
        refused: RefusedRecords,
        wall_clock: Callable[[], float],
        on_event: Callable[[GossipEvent], None],
        drop: Callable[[str], None],
        neighbours: Callable[[str], tuple[str, ...]],
        on_asked: Callable[[str, Mapping[str, int]], None],
        inbox: Inbox | None = None,
        claims: ClaimAdmission | None = None,
        on_claim: Callable[[Claim], None] = lambda _: None,
    ) -> None:
        """`drop` closes connections to a peer. `neighbours`: addresses of other peers, for whoever asks.

        `on_asked`: hears who asked, and how far it has got.
        """
        self._store = store
        self._forks = forks
        self._admission = admission
        self._door = doorkeeper
        self._on_record = on_record
        self._refused = refused
        self._wall_clock = wall_clock
        self._on_event = on_event
        self._drop = drop
        self._neighbours = neighbours
        self._on_asked = on_asked
        self._inbox = inbox or Inbox()
        self._claims = claims or ClaimAdmission(admission.brief)
        self._on_claim = on_claim
        self._bans_said = Budgets(_BANS_SAID)

    async def run(self) -> None:
        """Give what came to whoever keeps it."""
        for number in itertools.count(1):
            forwarder, record = await self._inbox.get()
            refusal = self._on_record(record, Heard(forwarder, Way.BROADCAST))
            if refusal is not None:
                self._admission.count(refusal)
                self._note(record.frame, forwarder, refusal)
            if number % _YIELD_EVERY == 0:
                await trio.lowlevel.checkpoint()

    def admits(self, peer: str) -> bool:
        """Whether a peer may be connected with us: not denied, not banned, and allowed if only some are."""
        return self._door.admits(peer, self._wall_clock())

    def let_in(self, peer: str) -> bool:
        """False, and the peer is dropped, if it is to stay outside."""
        if self.admits(peer):
            return True
        self._door.count("dropped")
        self._drop(peer)
        return False

    def deliver(self, forwarder: str, data: bytes) -> Answer:
        """A frame that was broadcast, packed or not."""
        if not self.let_in(forwarder):
            self._note(self._admission.packing.plain(data), forwarder, _BARRED)
            return self._admission.count(_BARRED).answer
        outcome = self._admission.admit(data, forwarder, trio.current_time(), wall_ms=int(self._wall_clock() * 1000))
        if not isinstance(outcome, Admitted):
            frame = data if outcome.reason is RefusalReason.RATE_OF_FORWARDER else self._admission.packing.plain(data)
            own_flood = outcome.reason is RefusalReason.RATE_OF_AUTHOR and open_frame(frame).author == forwarder
            self._note(frame, forwarder, outcome)
            self._judge(forwarder, FOR_OWN_FLOOD if own_flood else FOR_BROADCAST, outcome.reason)
            return outcome.answer
        dropped = self._inbox.put(forwarder, outcome.record)
        if dropped is not None:
            self._admission.forget(dropped)
            self._admission.count(_FULL)
        if dropped is outcome.record:  # if another one was dropped: it comes with the next catch-up, as this one does
            self._note(outcome.record.frame, forwarder, _FULL)
        return _FULL.answer if dropped is outcome.record else Answer.ACCEPT

    def deliver_claim(self, forwarder: str, frame: bytes) -> Answer:
        """A claim that was broadcast: heard at once and kept by nobody here."""
        if not self.let_in(forwarder):
            self._claims.count(_BARRED.reason.value)
            return _BARRED.answer
        now, wall_ms = trio.current_time(), int(self._wall_clock() * 1000)
        outcome = self._claims.admit(frame, forwarder, now, wall_ms)
        if isinstance(outcome, Claim):
            self._on_claim(outcome)
            return Answer.ACCEPT
        if outcome.reason is RefusalReason.RATE_OF_AUTHOR and read_claim(frame).author == forwarder:
            self._judge(forwarder, FOR_OWN_FLOOD, outcome.reason)
        else:
            self._judge(forwarder, FOR_BROADCAST, outcome.reason)
        return outcome.answer

    def serve(self, peer: str, message: bytes) -> bytes:
        """Answer a catch-up request. Raises Refused."""
        if not self.let_in(peer):
            raise Refused(_BARRED.reason, _BARRED.sentence)
        try:
            if not self._door.may_ask(peer, trio.current_time()):
                raise Refused(RefusalReason.RATE_OF_ASKER, f"{peer} asks too often")
            request = catchup.named(catchup.decode_request(message), self._authors())
        except Refused as refused:
            self._door.count(f"request_{refused.reason}")
            self._judge(peer, FOR_REQUEST, refused.reason)
            raise
        page = catchup.answer(self._store, self._admission.brief, request, self._neighbours(peer), self._forks)
        self._on_asked(peer, request.heads)
        return catchup.encode_page(page, deflate=request.deflate)

    def _authors(self) -> set[str]:
        """Whom we know of."""
        return {*self._store.heads(), *self._forks.unwanted()}

    def broken_answer(self, peer: str, reason: RefusalReason) -> None:
        """What a peer gave us when we asked was none."""
        self._judge(peer, FOR_ANSWER, reason)

    def _note(self, frame: bytes, forwarder: str, refusal: Refusal) -> None:
        self._refused.note(frame, Heard(forwarder, Way.BROADCAST), refusal, self._wall_clock())

    def _judge(self, peer: str, strikes: Strikes, reason: RefusalReason) -> None:
        ban = self._door.judge(peer, strikes, reason, self._wall_clock())
        if ban is None:
            return
        self.let_in(peer)
        if self._bans_said.take("", trio.current_time()):
            self._on_event(PeerBanned(ban.peer, ban.reason, ban.seconds))
