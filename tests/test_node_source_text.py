"""node/trials/source_text.py and source_examination.py: how much text a source carries along."""

import random
from pathlib import Path

import pytest

from node.trials.source_examination import UNREADABLE, examine
from node.trials.source_text import EXTRA_BYTES, NEW_BYTES, Carried, count, news, refusal

SHIPPED = (Path(__file__).parent.parent / "experiments/train.py").read_bytes()
NOTHING = Carried(0, 0, 0)


def test_what_is_counted():
    assert count(b"x = 'abcde' + b'fg'.decode()  # why\n") == Carried(7, 5, len("x") + len("decode"))
    assert count(b"x = 1\nx = 0x" + b"f" * 200) == Carried(1 + 100, 0, 1)
    assert count(b'f"ab{x}cd"').literals == 4


@pytest.mark.parametrize("kind", ["literals", "comments", "names"])
def test_each_kind_has_its_limit(kind):
    assert refusal(Carried(**{**vars(NOTHING), kind: EXTRA_BYTES}), NOTHING) == ""
    assert refusal(Carried(**{**vars(NOTHING), kind: EXTRA_BYTES + 1}), NOTHING).startswith(f"its {kind} hold 4097")


async def test_the_shipped_script_with_three_kilobytes_more_may_run():
    assert await examine(SHIPPED + b"\n# " + b"x" * 3000, SHIPPED) == ""


async def test_a_source_that_is_no_python_may_run_and_fail_by_itself():
    assert await examine(b"def f(:\n", SHIPPED) == ""


async def test_a_source_that_cannot_be_parsed_is_refused():
    assert await examine(b"x = " + b"-" * 60000 + b"1", SHIPPED) == UNREADABLE


def test_what_a_source_has_of_its_own_is_what_packing_leaves():
    carried = random.Random(1).randbytes(2000).hex().encode()
    assert news(SHIPPED, SHIPPED) < 100
    assert 2000 < news(SHIPPED + b"x = 0x" + carried, SHIPPED) < 2700
    assert news(b"# " + b"new lines first\n" * 400 + SHIPPED, SHIPPED) < 200


async def test_text_that_is_no_literal_comment_or_name_is_found():
    digits = "".join(random.Random(1).choices("0123456789", k=NEW_BYTES * 3)).encode()
    assert (await examine(SHIPPED + b"\nx = 0." + digits + b"\n", SHIPPED)).startswith("it holds ")
