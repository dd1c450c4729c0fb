"""Which messages of GossipSub have come already. One of the files that import libp2p.

Owns that, and nothing of when it is swept.
"""

import threading

from libp2p.tools.timed_cache.last_seen_cache import LastSeenCache


class SeenMessages(LastSeenCache):
    """Which messages have come, swept by who owns it. The library's has a thread that it never stops, and that goes by
    a real clock where time is simulated."""

    def __init__(self, ttl: int) -> None:  # not the library's: it starts the thread
        self.ttl = ttl
        self.lock = threading.Lock()
        self.cache = {}

    def sweep(self) -> None:
        self._sweep()

    def stop(self) -> None:
        """There is nothing to stop."""
