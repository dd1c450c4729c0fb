"""What all tests share: repeatable property tests, and the command line run in the test's own process."""

import random
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from gossip.memory_bus import MemoryNetwork

# Same examples on every run: a test that fails does so for everybody.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=100)
settings.load_profile("repeatable")


@pytest.fixture
def run(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Run the command line in this process: exit status, standard output, standard error."""
    from node.cli import main  # not for every test file

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["swarm", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(bool(end.code))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def net() -> "MemoryNetwork":
    """A network in memory."""
    from gossip.memory_bus import MemoryNetwork

    return MemoryNetwork(random.Random(3))


@pytest.fixture
def node(tmp_path, net):
    """Makes nodes' network sides in homes of their own on `net`."""
    from networked_home import homes_on

    with homes_on(net, tmp_path) as make:
        yield make
