"""Finding peers of the same brief on the local network, by multicast DNS. Convenience: without it nothing else changes.

zeroconf runs in a thread of its own; what it finds crosses over through a bounded queue. Trouble is one event.
"""

import hashlib
import hmac
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

import trio
from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from gossip.addresses import MAX_ADDRESS_BYTES, dialable, parse_dialable
from gossip.events import GossipEvent, LocalDiscoveryOff

SERVICE_TYPE = "_research-swarm._tcp.local."
MAX_ADDRESSES = 8  # in one announcement
_LOOK_UP_MS = 3000
_QUEUE = 64  # announcements waiting to be looked at; the oldest is lost
_CHECK_SECONDS = 30.0  # how soon a change of our addresses is announced


class LocalDiscovery:
    """Announces one node and listens for others of its brief."""

    def __init__(self, peer_id: str, brief: str, *, interfaces: Sequence[str] | None = None) -> None:
        self._peer_id = peer_id
        self._brief = brief
        self._interfaces = list(interfaces) if interfaces is not None else None
        self._found: deque[tuple[str, ...]] = deque(maxlen=_QUEUE)

    async def run(
        self,
        addresses: Callable[[], tuple[str, ...]],
        found: Callable[[tuple[str, ...]], None],
        on_event: Callable[[GossipEvent], None],
    ) -> None:
        """Until cancelled. `found` is called with the addresses of a peer of our brief. Never raises."""
        started = False
        while True:
            try:
                zeroconf = await trio.to_thread.run_sync(self._open)
            except Exception as error:  # no interface, no multicast route, port taken: the library has many classes
                if not started:
                    on_event(LocalDiscoveryOff(f"{type(error).__name__}: {error}"))
                    return
                await trio.sleep(_CHECK_SECONDS)  # between two networks
                continue
            started = True
            try:
                if not await self._run(zeroconf, addresses, found, on_event):
                    return
            finally:
                with trio.CancelScope(shield=True), suppress(Exception):
                    await trio.to_thread.run_sync(zeroconf.close)

    async def _run(
        self,
        zeroconf: Zeroconf,
        addresses: Callable[[], tuple[str, ...]],
        found: Callable[[tuple[str, ...]], None],
        on_event: Callable[[GossipEvent], None],
    ) -> bool:
        """True when our addresses have changed: the sockets belong to the interfaces of before. False: it is no use."""
        arrived = trio.Event()
        moved = False
        token = trio.lowlevel.current_trio_token()

        def arrive() -> None:
            arrived.set()

        def look_up(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
            """In zeroconf's thread."""
            if state_change is not ServiceStateChange.Removed:
                with suppress(Exception):  # a stranger's announcement; RunFinishedError at our end
                    info = zeroconf.get_service_info(service_type, name, _LOOK_UP_MS)
                    self._found.append(self.addresses_in(info))
                    token.run_sync_soon(arrive, idempotent=True)

        async def announce() -> None:
            nonlocal moved
            moved = await self._announce(zeroconf, addresses, on_event)
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(announce)
            await trio.to_thread.run_sync(partial(ServiceBrowser, zeroconf, SERVICE_TYPE, handlers=[look_up]))
            while True:
                await arrived.wait()
                arrived = trio.Event()
                while self._found:
                    peer_addresses = self._found.popleft()
                    if peer_addresses:
                        found(peer_addresses)
        return moved

    async def _announce(
        self, zeroconf: Zeroconf, addresses: Callable[[], tuple[str, ...]], on_event: Callable[[GossipEvent], None]
    ) -> bool:
        """True when the addresses have changed since they were announced. False when they cannot be announced."""
        announced: tuple[str, ...] = ()
        while True:
            now = addresses()
            if now and announced and set(now) != set(announced):
                return True
            if now and not announced:
                try:
                    await trio.to_thread.run_sync(self._register, zeroconf, now)
                    announced = now
                except Exception as error:  # the name is taken, the network went away: many classes
                    on_event(LocalDiscoveryOff(f"{type(error).__name__}: {error}"))
                    return False
            await trio.sleep(_CHECK_SECONDS)

    def _open(self) -> Zeroconf:
        if self._interfaces is None:
            return Zeroconf(ip_version=IPVersion.V4Only)
        return Zeroconf(interfaces=self._interfaces, ip_version=IPVersion.V4Only)

    def _register(self, zeroconf: Zeroconf, addresses: tuple[str, ...]) -> None:
        info = service_info(self._peer_id, self._brief, addresses)
        zeroconf.register_service(info, cooperating_responders=True)

    def addresses_in(self, info: ServiceInfo | None) -> tuple[str, ...]:
        """The addresses of an announcement, if it is of our brief and not our own."""
        if info is None:
            return ()
        texts = info.decoded_properties
        if texts.get("brief") != self._brief or texts.get("peer") == self._peer_id:
            return ()
        listed = [texts.get(f"a{number}") or "" for number in range(MAX_ADDRESSES)]
        fitting = dialable([text for text in listed if 0 < len(text) <= MAX_ADDRESS_BYTES])
        return tuple(text for text in fitting if parse_dialable(text).peer == texts.get("peer"))


def announced_brief(brief: str, swarm_key: bytes | None) -> str:
    """What is announced as brief. In a private swarm a word that only its members can tell from any other."""
    if swarm_key is None:
        return brief
    return hmac.digest(swarm_key, b"research-swarm/mdns/1\0" + brief.encode(), "sha256").hex()


def service_info(peer_id: str, brief: str, addresses: tuple[str, ...]) -> ServiceInfo:
    """TXT: v, peer, brief, a0 … a7 (multiaddrs)."""
    outside = [text for text in addresses if not parse_dialable(text).is_loopback] or list(addresses)
    texts = {"v": "1", "peer": peer_id, "brief": brief}
    texts |= {f"a{number}": text for number, text in enumerate(outside[:MAX_ADDRESSES])}
    hosts = sorted({parse_dialable(text).host for text in outside if parse_dialable(text).family == "ip4"})
    label = hashlib.sha256(f"{peer_id} {brief}".encode()).hexdigest()[:32]  # one machine may run nodes of many briefs
    return ServiceInfo(
        SERVICE_TYPE,
        f"{label}.{SERVICE_TYPE}",
        port=parse_dialable(outside[0]).port,
        properties=texts,
        server=f"{label}.local.",
        parsed_addresses=hosts,
    )
