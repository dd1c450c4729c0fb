"""The page of a home, served on loopback for a test, and a client that asks it as a browser would."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import trio

from node.browse.address import PageAddress
from node.browse.server import PageServer
from node.home import Home


@dataclass(frozen=True)
class Served:
    server: PageServer
    client: httpx.AsyncClient

    @property
    def port(self) -> int:
        return int(self.server.url.rstrip("/").rpartition(":")[2])


@asynccontextmanager
async def served(home: Home, *, token: str | None = None, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    server = PageServer(home, PageAddress(host, 0), token)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        async with httpx.AsyncClient(base_url=server.url, timeout=30, trust_env=False) as client:
            yield Served(server, client)
        nursery.cancel_scope.cancel()
