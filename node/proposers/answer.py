"""Reading a model's answer: any text -> an Answer, or AnswerRefused with a sentence the model can repair it by.

Owns the JSON contract of an answer and how far it may be missed. Whether the idea is new or runs is not known here.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from node.proposers.edits import MAX_EDITS, Edit
from swarm.space import ChoiceParameter, IntParameter, Parameter, SearchSpace
from swarm.words import BriefError, Config, SwarmError, Value

MAX_ANSWER_CHARS = 256 * 1024  # more is babble: a whole train.py in edits, twice, is less
MAX_STARTS = 200  # opening braces that are tried as the start of the object; bounds the work babble can make
_THINKING = re.compile(r"<think>.*?</think>", re.DOTALL)  # reasoning models show their drafts there


class AnswerRefused(SwarmError):
    """The answer holds no proposal. The sentence goes back to the model once."""


@dataclass(frozen=True)
class Answer:
    """What a model proposes: other settings, edits of train.py, or both."""

    title: str
    rationale: str
    changes: Config
    edits: tuple[Edit, ...] = ()


def _text(value: object) -> object:
    return "" if value is None else value


_Text = Annotated[str, BeforeValidator(_text)]


class _Edit(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    find: str
    replace: str


class _Answer(BaseModel):
    """The contract as the prompt states it. Unknown keys are ignored, values keep their JSON types."""

    model_config = ConfigDict(extra="ignore", strict=True)
    kind: Literal["config", "code"]
    title: _Text = ""
    rationale: _Text = ""
    changes: dict[str, bool | int | float | str] = Field(default_factory=dict[str, bool | int | float | str])
    edits: list[_Edit] = Field(default_factory=list[_Edit], max_length=MAX_EDITS)


def read_answer(text: str, space: SearchSpace, parent: Config) -> Answer:
    """The answer in `text`, its changes checked against the space. Raises AnswerRefused, whatever the text."""
    answer = _first_valid(text)
    if answer.kind == "code" and not answer.edits:
        raise AnswerRefused('"kind" is "code" but "edits" is missing or empty')
    if answer.kind == "config" and not answer.changes:
        raise AnswerRefused('"kind" is "config" but "changes" is missing or empty')
    edits = tuple(Edit(e.find, e.replace) for e in answer.edits) if answer.kind == "code" else ()
    return Answer(answer.title, answer.rationale, _checked(answer.changes, space, parent), edits)


def _first_valid(text: str) -> _Answer:
    if len(text) > MAX_ANSWER_CHARS:
        raise AnswerRefused(
            f"the answer is longer than {MAX_ANSWER_CHARS} characters; answer with the JSON object only"
        )
    problem = "no JSON object found; answer with the JSON object only"
    for candidate in _objects(_THINKING.sub("", text)):
        try:
            return _Answer.model_validate(candidate)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "answer"
            problem = f"the JSON object does not follow the contract: {where[:80]}: {first['msg']}"
        except RecursionError:
            problem = "the JSON object is nested too deeply"
    raise AnswerRefused(problem)


def _objects(text: str) -> Iterator[dict[str, Any]]:  # Any: whatever JSON a model wrote
    """Every outermost JSON object in `text`: code fences and prose around them do not matter."""
    decoder = json.JSONDecoder(parse_constant=_refuse, strict=False)
    at = text.find("{")
    for _ in range(MAX_STARTS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # not JSON from here, NaN, or a number of thousands of digits
            end = at + 1
        else:
            yield cast("dict[str, Any]", value)
        at = text.find("{", end)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _checked(wanted: dict[str, Value], space: SearchSpace, parent: Config) -> Config:
    """`wanted` with the types the space asks for. AnswerRefused for unknown settings and values out of range."""
    changed = {k: _fit(space.parameters[k], v) if k in space.parameters else v for k, v in wanted.items()}
    try:
        config = space.normalise({**parent, **changed})
    except BriefError as error:
        raise AnswerRefused(str(error)[:1000]) from None
    return {name: config[name] for name in changed}


def _fit(parameter: Parameter, value: Value) -> Value:
    """The value a model meant: '0.003' and 8.0 where numbers are asked for, 'RMSNorm' for the option 'rmsnorm'."""
    if isinstance(parameter, ChoiceParameter):
        said = _plain(value)
        meant = [option for option in parameter.options if _plain(option) == said]
        exact = [option for option in meant if type(option) is type(value)]
        return (exact or meant or [value])[0]
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return value
    whole = isinstance(number, float) and math.isfinite(number) and number.is_integer()
    return int(number) if whole and isinstance(parameter, IntParameter) else number


def _plain(value: Value) -> str:
    return str(value).strip().lower()
