"""Reading a model's answer: any text -> an Answer, or AnswerRefused with a sentence the model can repair it by.

Owns the contract of an answer and how far it may be missed: which words stand for which part, JSON or blocks or a whole
file. How broken JSON is read is loose_json.py's, code blocks are blocks.py's. Whether the idea is new or runs is not
known here.
"""

import math
import re
from dataclasses import dataclass
from typing import Any, cast

from node.proposers.blocks import find_blocks, find_diff, find_file, refuse_other_file
from node.proposers.edits import MAX_EDITS, Edit, EditRefused
from node.proposers.loose_json import objects
from swarm.space import ChoiceParameter, IntParameter, Parameter, SearchSpace
from swarm.words import BriefError, Config, SwarmError, Value

MAX_ANSWER_CHARS = 256 * 1024  # more is babble: a whole train.py in edits, twice, is less
MAX_WRAPPERS = 3  # {"answer": {"proposal": {...}}}
# Reasoning models show their drafts between such tags; some servers cut the opening one off.
_THOUGHTS = re.compile(r"<(think|thinking|thought|reasoning|reflection)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_END = re.compile(r"^.*</(?:think|thinking|thought|reasoning|reflection)>", re.DOTALL | re.IGNORECASE)
_THOUGHTS_BEGIN = re.compile(r"<(?:think|thinking|thought|reasoning|reflection)>.*$", re.DOTALL | re.IGNORECASE)
_CHANNEL = re.compile(r"^.*<\|channel\|>final[^<]*<\|message\|>", re.DOTALL)  # of models that name their channels
_ARROW = re.compile(r"\s*(?:->|=>|\u2192|\bto\b)\s*")
_CHANGES = (
    "changes", "config", "change", "settings", "config_changes", "config_change", "parameters", "params", "updates",
    "hyperparameters", "new_config", "modifications",
)  # fmt: skip
_EDITS = ("edits", "patches", "edit", "patch", "replacements", "code_edits", "code_changes", "search_replace")
_FIND, _REPLACE = ("find", "search", "old", "old_str", "before", "original"), (
    "replace", "replacement", "new", "new_str", "after", "updated")  # fmt: skip
_FILE = ("file", "path", "filename", "file_name", "file_path")
_TITLE = ("title", "name", "idea", "experiment", "summary")
_REASON = ("rationale", "reason", "reasoning", "why", "explanation", "description", "hypothesis", "justification")
_NEW_VALUE, _SETTING = ("value", "to", "new", "new_value"), ("setting", "name", "key", "parameter", "param", "knob")


class AnswerRefused(SwarmError):
    """The answer holds no proposal. The sentence goes back to the model once."""


@dataclass(frozen=True)
class Answer:
    """What a model proposes: other settings, edits of train.py, a whole new train.py, or settings and code."""

    title: str
    rationale: str
    changes: Config
    edits: tuple[Edit, ...] = ()
    source: str | None = None

    @property
    def has_code(self) -> bool:
        return bool(self.edits) or self.source is not None


def read_answer(text: str, space: SearchSpace, parent: Config, *, code: bool = True) -> Answer:
    """The answer in `text`, its changes checked against the space. Raises AnswerRefused, whatever the text.

    `code`: whether code was asked for; else only settings are taken.
    """
    if len(text) > MAX_ANSWER_CHARS:
        raise AnswerRefused(f"the answer is longer than {MAX_ANSWER_CHARS} characters; answer with what was asked only")
    said = without_thoughts(text)
    try:
        edits, source = (find_blocks(said) or find_diff(said), find_file(said)) if code else ((), None)
    except EditRefused as error:
        raise AnswerRefused(str(error)) from None
    if edits or source is not None:
        return _with_blocks(said, edits, source, space, parent)
    return _from_objects(said, space, parent, code=code)


def without_thoughts(text: str) -> str:
    """What was said, without what was only thought."""
    said = _THOUGHTS_END.sub("", _THOUGHTS.sub("", _CHANNEL.sub("", text)))
    return _THOUGHTS_BEGIN.sub("", said)


def _with_blocks(said: str, edits: tuple[Edit, ...], source: str | None, space: SearchSpace, parent: Config) -> Answer:
    """Code in blocks; title, reason and settings from an object or lines such as `title: ...` around them."""
    title, rationale, changes = _line(said, "title"), _line(said, "rationale"), Config()
    for found in objects(_outside_blocks(said)):
        title, rationale = _word(found, _TITLE) or title, _word(found, _REASON) or rationale
        changes = _wanted(_pick(found, _CHANGES), space) or changes
    changes = _checked(changes, space, parent) if changes else {}
    return Answer(title, rationale, changes, edits, None if edits else source)


def _outside_blocks(said: str) -> str:
    """What stands before the first code block: code is full of braces."""
    starts = [at for mark in ("<<<<<", "```python", "```py", "```diff", "--- ") if (at := said.find(mark)) >= 0]
    return said[: min(starts)] if starts else said


def _line(said: str, name: str) -> str:
    found = re.search(rf"^[\s#*>-]*{name}[*\s]*[:=]\s*(.+)$", said, re.MULTILINE | re.IGNORECASE)
    return found[1].strip(" *\"'`,") if found else ""


def _from_objects(said: str, space: SearchSpace, parent: Config, *, code: bool) -> Answer:
    problem = "no JSON object found; answer with the JSON object only"
    for found in objects(said):
        try:
            return _from_object(_unwrapped(found, space), space, parent, code=code)
        except AnswerRefused as refused:
            problem = str(refused)
    raise AnswerRefused(problem)


def _unwrapped(found: dict[str, Any], space: SearchSpace) -> dict[str, Any]:
    for _ in range(MAX_WRAPPERS):
        inner = [cast("dict[str, Any]", v) for v in found.values() if isinstance(v, dict)]
        known = any(_pick(found, names) is not None for names in (_CHANGES, _EDITS)) or _flat(found, space)
        if known or len(inner) != 1:
            break
        found = inner[0]
    return found


def _from_object(found: dict[str, Any], space: SearchSpace, parent: Config, *, code: bool) -> Answer:
    edits = _edits(_pick(found, _EDITS)) if code else ()
    if not code and _pick(found, _EDITS):
        raise AnswerRefused('code was not asked for: answer with "changes" of settings only')
    wanted = _wanted(_pick(found, _CHANGES), space) or _flat(found, space)
    if code and found.get("kind") == "code" and not edits:
        raise AnswerRefused('"kind" is "code" but "edits" is missing or empty')
    if not wanted and not edits:
        raise AnswerRefused('the JSON object holds no change: "changes" is missing or empty')
    title, rationale = _word(found, _TITLE), _word(found, _REASON)
    return Answer(title, rationale, _checked(wanted, space, parent), edits)


def _pick(found: dict[str, Any], names: tuple[str, ...]) -> object:
    for name in names:
        for key, value in found.items():
            if _plain_name(key) == name and value not in (None, "", [], {}):
                return value
    return None


def _word(found: dict[str, Any], names: tuple[str, ...]) -> str:
    value = _pick(found, names)
    return value if isinstance(value, str) else ""


def _plain_name(key: object) -> str:
    return re.sub(r"[\s-]+", "_", str(key).strip().lower())


def _edits(said: object) -> tuple[Edit, ...]:
    if said is None:
        return ()
    listed = cast("list[object]", said) if isinstance(said, list) else [said]
    if len(listed) > MAX_EDITS:
        raise AnswerRefused(f"{len(listed)} edits given, at most {MAX_EDITS} are allowed")
    edits: list[Edit] = []
    for number, one in enumerate(listed):
        if isinstance(one, str) and (blocks := find_blocks(one)):
            edits += blocks
            continue
        table = cast("dict[str, Any]", one) if isinstance(one, dict) else {}
        if isinstance(file := _pick(table, _FILE), str):
            refuse_other_file(file)
        find, replace = (_text(table, names) for names in (_FIND, _REPLACE))
        if find is None or replace is None:
            lacking = "find" if find is None else "replace"
            raise AnswerRefused(f"the JSON object does not follow the contract: edits.{number}.{lacking}: not a text")
        edits.append(Edit(find, replace))
    return tuple(edits)


def _text(table: dict[str, Any], names: tuple[str, ...]) -> str | None:
    """Unlike elsewhere an empty text counts: replacing by nothing deletes."""
    for name in names:
        if isinstance(value := table.get(name), str):
            return value
        if isinstance(value, list) and all(isinstance(line, str) for line in cast("list[object]", value)):
            return "\n".join(cast("list[str]", value))
    return None


def _flat(found: dict[str, Any], space: SearchSpace) -> Config:
    """Settings that stand beside title and reason instead of under "changes"."""
    named = {name: value for key, value in found.items() if (name := _setting(key, space)) in space.parameters}
    return _wanted(named, space) if named else {}


def _setting(key: object, space: SearchSpace) -> str:
    said = str(key).strip()
    if said in space.parameters:
        return said
    meant = [name for name in space.parameters if _plain_name(name) == _plain_name(said.removeprefix("config."))]
    return meant[0] if len(meant) == 1 else said


def _wanted(said: object, space: SearchSpace) -> Config:
    if isinstance(said, list):
        said = _listed(cast("list[object]", said))
    if not isinstance(said, dict):
        return {}
    wanted: Config = {}
    for key, value in cast("dict[object, object]", said).items():
        name = _setting(key, space)
        if name not in space.parameters and _plain_name(name) in (*_TITLE, *_REASON):
            continue  # put inside by mistake
        plain = _new_value(value)
        if isinstance(plain, bool | int | float | str):
            wanted[name] = plain
        else:
            raise AnswerRefused(f"changes.{name[:80]}: not a number, true, false or a text")
    return wanted


def _listed(said: list[object]) -> dict[object, object]:
    """[{"setting": "depth", "value": 4}] and [{"depth": 4}]."""
    found: dict[object, object] = {}
    for one in said:
        if not isinstance(one, dict):
            raise AnswerRefused('"changes" is a list; write {"setting": value}')
        table = cast("dict[str, Any]", one)
        name, value = _pick(table, _SETTING), next((table[key] for key in _NEW_VALUE if key in table), None)
        found |= {name: value} if isinstance(name, str) and value is not None else table
    return found


def _new_value(value: object) -> object:
    """{"from": 2, "to": 4} and "2 -> 4" mean 4."""
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        return next((table[key] for key in _NEW_VALUE if key in table), None)
    if isinstance(value, str) and len(parts := _ARROW.split(value[:200])) == 2 and parts[1]:
        return parts[1].strip("\"' ")
    return value


def _checked(wanted: Config, space: SearchSpace, parent: Config) -> Config:
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
        number = float(value.replace("_", "")) if isinstance(value, str) and len(value) < 40 else value
    except ValueError:
        return value
    whole = isinstance(number, float) and math.isfinite(number) and number.is_integer()
    return int(number) if whole and isinstance(parameter, IntParameter) else number


def _plain(value: Value) -> str:
    return str(value).strip().lower()
