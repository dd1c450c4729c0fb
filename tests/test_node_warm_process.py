"""The warm process leaves nothing behind, whenever it is ended. A shell stands in for the launcher: real processes."""

from dataclasses import dataclass
from pathlib import Path

import psutil
import trio

from node.sandbox.confinement import Confinement, unconfined
from node.sandbox.spec import limits_for
from node.trials.hardware import detect
from node.trials.warm_process import WarmProcess


@dataclass(frozen=True)
class HalfMade(Confinement):
    """A sandbox that has forked what will be its inside, and goes no further."""

    note: Path = Path()

    def launcher(self, read, write):
        return ["/bin/sh", "-c", f"sleep 600 & echo $! > {self.note}.new; mv {self.note}.new {self.note}; wait", "sh"]


async def test_a_sandbox_that_is_only_half_made_ends_with_its_node(tmp_path):
    plain = unconfined(limits_for(detect()))
    confinement = HalfMade(plain.backend, plain.means, plain.limits, note=tmp_path / "inside")
    warm = WarmProcess(tmp_path / "warm.py", {}, tmp_path / "log", confinement, (), tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(warm.run)
        with trio.fail_after(30):
            while not confinement.note.exists():
                await trio.sleep(0.01)
        inside = psutil.Process(int(confinement.note.read_text()))
        nursery.cancel_scope.cancel()
    with trio.move_on_after(30):  # it is killed, and gone when the system has come to it
        while is_alive(inside):
            await trio.sleep(0.01)
    try:
        assert not is_alive(inside), "it outlived its node"
    finally:
        if inside.is_running():
            inside.kill()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
