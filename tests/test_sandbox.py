"""experiments/confine.py: attempts to get out, each looked at from outside.

The sandboxes that do not work on this machine are skipped, with the reason.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from escape_attempts import ATTEMPTS, RESOURCES
from sandbox_world import EXPERIMENTS, FOUND, MODES, SECRET, SMALL, World, skip_unless

from node.sandbox.spec import Access, request


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with ExitStack() as stack:
        made = World(Path(os.path.realpath(tmp_path_factory.mktemp("world"))), f"token-{os.getpid()}", stack)
        yield made


def of_the_test(world: World, seen: dict[str, object]) -> dict[str, object]:
    """Without the two files that the test itself writes each time."""
    return {name: of for name, of in seen.items() if Path(name).name not in ("script.py", "spec.json")}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_comes_to_nothing(world, name, mode):
    skip_unless(mode)
    before = of_the_test(world, world.look())
    done = world.run(ATTEMPTS[name], mode)
    assert SECRET not in done.output
    assert "GOT" not in done.output, done.output
    assert of_the_test(world, world.look()) == before
    assert world.heard() == []
    assert "refused" in done.output, done.output  # it did try
    assert "to the end" in done.output or done.status in (-signal.SIGSYS, 128 + signal.SIGSYS), done.output


def test_there_are_enough_attempts():
    assert len(ATTEMPTS) + len(RESOURCES) >= 74


@pytest.mark.parametrize(
    "name",
    ["read the key", "read through a symlink", "list the home", "see the environment of others", "make a process"],
)
def test_without_a_sandbox_the_attempt_succeeds(world, name):
    """What the checks above look for is there to be found."""
    done = world.run(ATTEMPTS[name], None)
    assert "GOT" in done.output, done.output


def test_without_a_sandbox_the_looks_see_what_was_done(world):
    hook = world.folder / "home/results/.git/hooks/post-commit"
    before = world.look()
    attempts = ("write a git hook", "change modes", "connect by TCP", "send by UDP", "slow another down")
    # Each is undone at once; those that would harm the machine are not tried.
    world.run("\n".join(ATTEMPTS[name] for name in attempts[:4]), None)
    after = world.look()
    heard = world.heard()
    for path, mode in ((hook, 0o666), (world.folder / "home/key", 0o666), (world.folder / "home/empty", 0o777)):
        path.chmod(mode)
    hook.write_text(SECRET)
    shutil.rmtree(world.folder / "home/results/x", ignore_errors=True)
    assert {str(hook), str(world.folder / "home/key"), str(world.folder / "home/empty")} <= {
        name for name in after if after[name] != before.get(name)
    }
    assert len(heard) == 2


# --- Fail closed ---


@pytest.mark.parametrize(
    "wrong",
    [
        {"read": ["/no/such/folder"]},
        {"scratch": "/no/such/folder"},
        {"limits": {"no_such_limit": 1}},
        {"limits": {"open_files": "many"}},
        {"uid": -5},
        {"landlock": None},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_cannot_be_promised_is_not_run(world, wrong):
    skip_unless("landlock")
    if wrong.get("uid") and FOUND.means.uid is None:
        pytest.skip("nobody but root becomes another user")
    access = Access(read=(world.inside / "script.py",), write=(), scratch=world.scratch)
    spec = request(access, SMALL, FOUND.means) | wrong
    if wrong == {"landlock": None}:
        del spec["landlock"]
    (world.inside / "spec.json").write_text(json.dumps(spec))
    (world.inside / "script.py").write_text("print('it ran')")
    command = [sys.executable, "-I", EXPERIMENTS / "confine.py", world.inside / "spec.json", world.inside / "script.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "it ran" not in done.stdout
    assert "RuntimeError" in done.stderr
