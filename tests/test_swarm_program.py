"""What is the same program: comments, formatting and docstrings do not make another one, everything else does."""

import ast
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import make_brief

from swarm.brief import source_sha256
from swarm.program import canonical_key, program_key, syntax_digest
from swarm.space import config_key

TRAIN = (Path(__file__).parent.parent / "experiments" / "train.py").read_text()
ODD = {
    "not Python": "def (:",
    "half a surrogate pair": "a = '\udc80'",
    "a null byte": "a\0b",
    "a chain too deep for the reader": "a = " + "+".join(["1"] * 20_000),
    "brackets": "(" * 20_000,
    "signs": "-" * 40_000 + "1",
    "branches": "if 1: pass\n" + "elif 1: pass\n" * 3_000,
    "larger than any source": "#" * 60_000,
}


def test_a_program_written_anew_is_the_same() -> None:
    again = ast.unparse(ast.parse(TRAIN))  # no comments, other quotes and line breaks
    assert again != TRAIN
    assert syntax_digest(again) == syntax_digest(TRAIN)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = (1)  # why\n\n"),
        ("def f():\n    'says'\n    return 1", "def f():\n  return 1"),
        ("'''a module'''\nclass A:\n    'says'\n    x = 'a' 'b'", 'class A: x = "ab"'),
        ("f(a, b,)", "f(\n    a,\n    b\n)"),
        ("x = 10_000", "x = 10000"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert syntax_digest(one) == syntax_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x = 1", "x = 1.0"), ("x = 1", "x = True"), ("x = '1'", "x = 1"), ("x = ''", "x = b''"), ("x = None", "x"),
        ("x = [1, [2]]", "x = [1, 2]"), ("x = [1, [2]]", "x = [[1], 2]"), ("a[1:]", "a[:1]"), ("f(a, b)", "f(b, a)"),
        ("def f(*, a, b=1): 0", "def f(*, a=1, b): 0"), ("f(a=1)", "f(b=1)"), ("f(*a)", "f(**a)"), ("0.0", "-0.0"),
        ("def f():\n x\n 'not a docstring'", "def f():\n x"), ("if a:\n b\nc", "if a:\n b\n c"), ("a < b", "a > b"),
        ("x = '.value'", "x = value"),
    ],
)  # fmt: skip
def test_not_the_same(one: str, other: str) -> None:
    assert syntax_digest(one) != syntax_digest(other)


@pytest.mark.parametrize("what", ODD)
def test_what_cannot_be_read_goes_by_its_text(what: str) -> None:
    assert syntax_digest(ODD[what]) == syntax_digest(ODD[what])
    assert syntax_digest(ODD[what]) != syntax_digest(ODD[what] + " ")


@given(st.text())
def test_no_text_raises_anything(text: str) -> None:
    assert len(syntax_digest(text)) == 64


def test_strangers_source_gives_no_warnings() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert syntax_digest("x = '\\d'") == syntax_digest("x = '\\\\d'")


def test_the_key_is_of_program_and_settings() -> None:
    brief = make_brief("x = 1  # the start\n")
    config, digest = dict(brief.base_config), brief.source_sha256
    assert canonical_key(brief, config, None) == config_key(config, digest), "the key that trials have, where it can be"
    assert program_key(brief, "x = 1\n") == program_key(brief, None) == digest
    assert program_key(brief, "x = 2") not in (digest, source_sha256("x = 2"))
    assert canonical_key(brief, config, "x = 2") == canonical_key(brief, config, "x = 2  # two")
    other = dict(reversed(config.items())) | {"learning_rate": 1}
    floats = canonical_key(brief.model_copy(update={"space": _wide(brief)}), other, None)
    assert floats == config_key({**config, "learning_rate": 1.0}, digest), "15 where the space means 15.0"


def _wide(brief):
    rate = brief.space.parameters["learning_rate"].model_copy(update={"high": 10.0})
    return brief.space.model_copy(update={"parameters": {**brief.space.parameters, "learning_rate": rate}})
