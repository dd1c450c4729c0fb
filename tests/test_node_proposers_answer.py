"""Any text a model writes is a proposal's content or a refusal with a reason; edits apply exactly or not at all."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from proposer_requests import BASE, SPACE, TRAIN

from node.proposers.answer import MAX_ANSWER_CHARS, Answer, AnswerRefused, read_answer
from node.proposers.edits import Edit, EditRefused, apply_edits, check_source
from swarm.brief import MAX_SOURCE_BYTES

GOOD = '{"title": "t", "rationale": "r", "kind": "config", "changes": {"depth": 4}}'
EXPECTED = Answer("t", "r", {"depth": 4})


def read(text: str) -> Answer:
    return read_answer(text, SPACE, BASE)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"```json\n{GOOD}\n```",
        f"Sure! Here is my idea:\n```\n{GOOD}\n```\nI hope it helps {{really}}.",
        f'<think>maybe {{"kind": "config", "changes": {{"depth": 7}}}}?</think>{GOOD}',
        f"{{not json}} {GOOD}",
        f'{{"note": "an object of another kind"}} {GOOD}',
        GOOD.replace("4", '"4"'),
        GOOD.replace("4", "4.0"),
        GOOD.replace('"r"', '"r", "confidence": 0.9'),
        GOOD.replace('"title": "t"', '"title": "t\n"').replace("t\n", "t"),
    ],
)
def test_what_models_write_around_and_in_an_answer_does_not_matter(text: str):
    assert read(text) == EXPECTED


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"norm": "RMSNorm"}, {"norm": "rmsnorm"}),
        ({"rope": "true"}, {"rope": True}),
        ({"width": "128"}, {"width": 128}),
        ({"learning_rate": "3e-3"}, {"learning_rate": 3e-3}),
        ({"dropout": 0}, {"dropout": 0.0}),
        ({"odd": "1"}, {"odd": "1"}),
        ({"odd": 1}, {"odd": 1}),
        ({"odd": 1.0}, {"odd": 1.0}),
    ],
)
def test_values_become_what_the_space_asks_for(changes: dict, expected: dict):
    got = read(json.dumps({"kind": "config", "changes": changes})).changes
    assert got == expected
    assert [type(v) for v in got.values()] == [type(v) for v in expected.values()]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON object"),
        ("I would rather not.", "no JSON object"),
        ("{" * 5000, "no JSON object"),
        ('{"a":' * 5000, "no JSON object"),
        ('{"kind": "config", "changes": {"depth": NaN}}', "no JSON object"),
        ('{"kind": "config", "changes": {"depth": 1e999}}', "depth"),
        ('{"kind": "config", "changes": {"depth": ' + "9" * 5000 + "}}", "no JSON object"),
        ('{"kind": "config", "changes": {"depth": 99}}', "outside 1..8"),
        ('{"kind": "config", "changes": {"dept": 4}}', "unknown config key 'dept'"),
        ('{"kind": "config", "changes": {"depth": [4]}}', "changes.depth"),
        ('{"kind": "config", "changes": {"depth": null}}', "changes.depth"),
        ('{"kind": "config", "changes": {}}', '"changes" is missing'),
        ('{"kind": "code", "changes": {"depth": 4}}', '"edits" is missing'),
        ('{"kind": "code", "edits": [{"find": "x"}]}', "edits.0.replace"),
        ('{"kind": "shell", "command": "rm"}', '"changes" is missing'),
        ("x" * (MAX_ANSWER_CHARS + 1), "longer than"),
    ],
)
def test_refusals_say_why(text: str, reason: str):
    with pytest.raises(AnswerRefused) as refused:
        read(text)
    assert reason in str(refused.value)
    assert len(str(refused.value)) <= 1000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
answers = st.fixed_dictionaries(
    {"kind": st.sampled_from(["config", "code", "other"])},
    optional={
        "title": json_values,
        "rationale": json_values,
        "changes": st.dictionaries(st.sampled_from(list(BASE)) | st.text(max_size=5), json_values, max_size=4),
        "edits": st.lists(st.fixed_dictionaries({"find": json_values, "replace": json_values}), max_size=3)
        | json_values,
    },
)


@given(st.text() | answers.map(json.dumps) | answers.map(lambda a: f"```\n{json.dumps(a)[:-1]}"))
def test_any_text_is_an_answer_inside_the_space_or_refused(text: str):
    try:
        answer = read(text)
    except AnswerRefused:
        return
    SPACE.check({**BASE, **answer.changes})


def test_edits_apply_in_order_and_exactly():
    edits = [Edit("WIDTH = 64", "WIDTH = 32"), Edit("WIDTH = 32\n", "WIDTH = 16\nDEPTH = 2\n")]
    assert apply_edits(TRAIN, edits) == TRAIN.replace("WIDTH = 64\n", "WIDTH = 16\nDEPTH = 2\n")


@pytest.mark.parametrize(
    ("edits", "reason"),
    [
        ([], "0 edits"),
        ([Edit("WIDTH", "x")], "more than once"),
        ([Edit("no such text", "x")], "does not occur"),
        ([Edit("", "x")], "empty"),
        ([Edit("  \n \n  ", "x")], "white space"),
        ([Edit("WIDTH = 64", "WIDTH = 64")], "change nothing"),
        ([Edit("WIDTH = 64", "WIDTH = 64  # größer")], "ASCII"),
        ([Edit("WIDTH = 64", "#" * MAX_SOURCE_BYTES)], "more than"),
        ([Edit("WIDTH = 64", "x")] * 33, "33 edits"),
    ],
)
def test_edits_that_do_not_hold_are_refused_whole(edits: list[Edit], reason: str):
    with pytest.raises(EditRefused, match=reason):
        apply_edits(TRAIN, edits)


def test_occurrences_that_overlap_are_two():
    with pytest.raises(EditRefused, match="more than once"):
        apply_edits("x = 'aaa'", [Edit("aa", "b")])


@given(st.lists(st.builds(Edit, st.sampled_from(["WIDTH", "64", "\n", "def "]) | st.text(), st.text()), max_size=4))
def test_any_edits_give_a_sound_source_or_a_refusal(edits: list[Edit]):
    try:
        changed = apply_edits(TRAIN, edits)
    except EditRefused:
        return
    assert changed.isascii()
    assert changed != TRAIN
    assert len(changed) <= MAX_SOURCE_BYTES


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def build_model(:\n", "line 1 is not valid Python"),
        (TRAIN.replace("build_model", "make_model"), "build_model"),
        (TRAIN.replace("__main__", "main"), "__main__"),
        (TRAIN + "x = " + "(" * 20_000, "not valid Python|cannot be parsed"),
        (TRAIN + "x = " + "-" * 40_000 + "1\n", "cannot be parsed|ended the parser"),
        (TRAIN + "\x00", "cannot be parsed|not valid Python"),
    ],
)
async def test_a_source_that_may_not_run_is_refused(source: str, reason: str):
    with pytest.raises(EditRefused, match=reason):
        await check_source(source)


async def test_a_sound_source_passes():
    await check_source(TRAIN)
