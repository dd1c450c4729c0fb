"""A corpus of bad answers, as small models really give them: each is read as it was meant, or refused with a reason."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from proposer_requests import BASE, SPACE, TRAIN

from node.proposers.answer import AnswerRefused, read_answer
from node.proposers.edits import EditRefused, apply_edits, check_source, whole_file

ANSWERS: list[dict[str, str]] = json.loads((Path(__file__).parent / "corpus" / "answers.json").read_text())
MEANT = TRAIN.replace("WIDTH = 64", "WIDTH = 96")


@dataclass(frozen=True)
class Read:
    """What became of an answer: one of the three."""

    changes: dict | None = None
    source: str | None = None
    refusal: str | None = None


async def read(text: str, form: str) -> Read:
    """As the arm reads it. Whatever is not a refusal with a reason falls through and fails the test."""
    try:
        answer = read_answer(text, SPACE, BASE, code=form == "code")
        if not answer.has_code:
            return Read(changes=answer.changes)
        source = whole_file(TRAIN, answer.source) if answer.source else apply_edits(TRAIN, answer.edits)
        await check_source(source)
    except (AnswerRefused, EditRefused) as refused:
        return Read(refusal=str(refused))
    return Read(source=source)


def as_meant(answer: dict[str, str], got: Read) -> bool:
    if answer["expect"] == "refused":
        return bool(got.refusal) and len(got.refusal) <= 1200
    return got.source == MEANT if answer["form"] == "code" else got.changes == {"depth": 4}


def test_the_corpus_is_large():
    assert len(ANSWERS) >= 100
    assert len({(a["form"], a["name"]) for a in ANSWERS}) == len(ANSWERS)


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda a: f"{a['form']}-{a['name']}")
async def test_each_answer_is_read_as_meant_or_refused_with_a_reason(answer: dict[str, str]):
    got = await read(answer["text"], answer["form"])
    assert as_meant(answer, got), got


async def test_every_beginning_of_every_answer_is_read_or_refused():
    """Cut off anywhere, an answer is what it was, or refused; never another change, never an exception."""
    for answer in ANSWERS:
        text = answer["text"]
        if answer["expect"] != "same" or len(text) > 300:
            continue
        for end in range(0, len(text), 3):
            try:
                found = read_answer(text[:end], SPACE, BASE, code=answer["form"] == "code")
            except AnswerRefused:
                continue
            assert found.changes in ({}, {"depth": 4}, {"depth": 7}), (answer["name"], text[:end])
