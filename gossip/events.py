"""What the network side tells the node, as values. `str(event)` is the sentence for a person."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Listening:
    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return f"listening on {', '.join(self.addresses) or 'no address'}"


@dataclass(frozen=True, slots=True)
class PeerJoined:
    peer: str

    def __str__(self) -> str:
        return f"peer {self.peer} joined the topic"


@dataclass(frozen=True, slots=True)
class PeerLeft:
    peer: str

    def __str__(self) -> str:
        return f"peer {self.peer} left"


@dataclass(frozen=True, slots=True)
class PeerSpeaksAnotherVersion:
    """Said once for each peer."""

    peer: str
    protocols: tuple[str, ...]

    def __str__(self) -> str:
        spoken = ", ".join(self.protocols) or "no swarm protocol of ours"
        return (
            f"peer {self.peer} speaks another version ({spoken}) and is left aside: update research-swarm on one side"
        )


@dataclass(frozen=True, slots=True)
class BootstrapUnreachable:
    """Said once, until it is back."""

    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return f"no answer from bootstrap {', '.join(self.addresses)}: going on without, retrying quietly"


@dataclass(frozen=True, slots=True)
class BootstrapReached:
    """Only after BootstrapUnreachable."""

    addresses: tuple[str, ...]

    def __str__(self) -> str:
        return f"bootstrap {', '.join(self.addresses)} answers again"


@dataclass(frozen=True, slots=True)
class CaughtUp:
    peer: str
    records: int
    seconds: float

    def __str__(self) -> str:
        return f"got {self.records} records from {self.peer} in {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class CatchupCutOff:
    """A peer's answers were not worth going on with. Said once for each peer and reason."""

    peer: str
    reason: str

    def __str__(self) -> str:
        return f"stopped fetching records from {self.peer}: {self.reason}"


@dataclass(frozen=True, slots=True)
class PeerBanned:
    """Said once for each ban, and not of every peer when there are very many."""

    peer: str
    reason: str  # a RefusalReason
    seconds: float

    def __str__(self) -> str:
        how_long = _in_words(self.seconds)
        return f"peer {self.peer} is kept out for {how_long}: it went on sending what is no good ({self.reason})"


@dataclass(frozen=True, slots=True)
class NetworkFailed:
    """Said once, until it runs again."""

    sentence: str

    def __str__(self) -> str:
        return f"network stopped, restarting it: {self.sentence}"


@dataclass(frozen=True, slots=True)
class NetworkBack:
    """Only after NetworkFailed."""

    def __str__(self) -> str:
        return "network runs again"


@dataclass(frozen=True, slots=True)
class LocalDiscoveryOff:
    """mDNS cannot work here."""

    sentence: str

    def __str__(self) -> str:
        return f"peers on the local network are not found by themselves: {self.sentence}"


GossipEvent = (
    Listening
    | PeerJoined
    | PeerLeft
    | PeerSpeaksAnotherVersion
    | BootstrapUnreachable
    | BootstrapReached
    | CaughtUp
    | CatchupCutOff
    | PeerBanned
    | NetworkFailed
    | NetworkBack
    | LocalDiscoveryOff
)


def _in_words(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"
