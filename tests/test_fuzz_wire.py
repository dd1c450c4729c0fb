"""A fast share of the fuzz of everything that reads strangers' bytes, and that the fuzz would notice what it looks for.

The whole of it, a million inputs: python tests/fuzz/fuzz_wire.py
"""

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from gossip.refusal import Refused
from swarm.brief import decode_brief
from swarm.words import BriefError
from tests.fuzz import fuzz_wire
from tests.fuzz.targets import Target, targets
from tests.vectors.payloads import BRIEF_TEXT

INPUTS = 20_000
NAMES = [target.name for target in targets()]


def test_generated_bytes_are_read_or_refused_quickly_and_in_bounded_memory() -> None:
    tally = fuzz_wire.run_chunk(seed=1_000_000, inputs=INPUTS)
    assert tally.problems == []
    assert tally.inputs == INPUTS
    # Damage that everything refuses at its first byte, or that nothing is refused for, would test nothing.
    assert [name for name in NAMES if tally.refused[name] < 100 or tally.taken[name] < 10] == []


def test_the_same_seed_makes_the_same_inputs() -> None:
    for one, other in zip(targets(), targets(), strict=True):
        assert [one.make(Random(7)) for _ in range(20)] == [other.make(Random(7)) for _ in range(20)]


def broken(data: bytes) -> bool:
    raise KeyError(len(data))


def expects(data: bytes) -> bool:
    raise Refused(None, "a refusal that the target did not catch")  # type: ignore[arg-type]


@pytest.mark.parametrize(("read", "says"), [(broken, "liar: KeyError"), (expects, "liar: Refused")])
def test_an_unexpected_exception_is_a_problem(monkeypatch: pytest.MonkeyPatch, read, says: str) -> None:
    monkeypatch.setattr(fuzz_wire, "targets", lambda: [Target("liar", read, lambda rng: rng.randbytes(4))])
    (problem, *_) = fuzz_wire.run_chunk(seed=3, inputs=2).problems
    assert problem.startswith(says)
    assert "seed 3" in problem


def test_a_slow_input_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz_wire, "targets", lambda: [Target("slow", lambda data: True, lambda rng: b"x")])
    monkeypatch.setattr(fuzz_wire, "LONGEST_SECONDS", -1.0)
    assert "slow: 0.0 s" in fuzz_wire.run_chunk(seed=3, inputs=1).problems[0]


def test_memory_that_grows_is_a_problem() -> None:
    """In a process of its own: the peak of a process never falls."""
    program = (
        "from tests.fuzz import fuzz_wire\n"
        "from tests.fuzz.targets import Target\n"
        "read = lambda data: bool(bytearray(b'x' * 200 * 2**20 * (data > b'a')).count(1))\n"
        "made = iter([b'a', b'b'])\n"
        "fuzz_wire.targets = lambda: [Target('hungry', read, lambda rng: next(made))]\n"
        "print(fuzz_wire.run_chunk(3, 2).problems)\n"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=60, check=True
    )
    assert "memory grew by" in done.stdout


def test_a_whole_number_that_no_float_holds_is_no_setting() -> None:
    text = BRIEF_TEXT.replace(
        '{"high":256,"kind":"int","log":true,"low":32}', '{"high":256.0,"kind":"float","low":32.0}'
    )
    decode_brief(text.encode())
    with pytest.raises(BriefError, match="width"):
        decode_brief(text.replace('"width":64', '"width":' + "9" * 400).encode())
