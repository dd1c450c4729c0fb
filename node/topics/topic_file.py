"""What a topic file may say, and one clear sentence for each way it can be wrong.

Owns the shape of `configs/topics/*.toml` and of people's own topic files. Does not read any text or make a brief.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from node.topics.download import file_name
from swarm.brief import Acceptance, Budgets
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, Parameter
from swarm.words import SwarmError, Value

MAX_FILE_BYTES = 256 * 1024  # a topic file is a page of settings; more than this is some other file
SectionT = TypeVar("SectionT", bound="Section")
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TopicError(SwarmError):
    """A topic is unknown, or its file breaks a rule."""


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Split(Section):
    """How many of a thousand documents go where, by the hash of their names."""

    validation_per_mille: int = Field(default=100, ge=1, le=400)
    sealed_per_mille: int = Field(default=50, ge=1, le=400)
    salt: str = Field(default="", max_length=64)  # hashed before the name: another salt is another split


class WheelSource(Section):
    """The source text of an installed package: the same bytes on every machine."""

    source: Literal["wheel"]
    package: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    version: str = Field(min_length=1)
    pattern: str = "*.py"
    exclude: tuple[str, ...] = ()  # names of folders
    file_count: int = Field(ge=1)
    size_bytes: int = Field(ge=1)
    sha256: Sha256  # of names and contents, see node/topics/documents.py


class TextFormat(Section):
    separator: str | None = Field(
        default=None, min_length=1
    )  # between documents in one file; none: one file, one document
    block_bytes: int | None = Field(default=None, ge=256, le=1 << 20)  # size of blocks where documents are too few


class FilesSource(TextFormat):
    """Text files of one's own; paths and globs relative to the topic file."""

    source: Literal["files"]
    paths: tuple[str, ...] = Field(min_length=1)
    sha256: dict[str, Sha256] = {}  # optional pins: path as the topic file has it, or as the glob finds it


class RemoteText(Section):
    url: str = Field(pattern=r"^https?://")
    sha256: Sha256 | None = None
    bytes: int | None = Field(default=None, ge=1)


class DownloadSource(TextFormat):
    """Files from the network, each pinned by its hash."""

    source: Literal["download"]
    format: Literal["text", "parquet"] = "text"
    column: str = "text"  # of a parquet file
    files: tuple[RemoteText, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> "DownloadSource":
        names = [file_name(file.url) for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("two files have the same name")
        return self


Source = WheelSource | FilesSource | DownloadSource


class ShardPin(Section):
    sha256: Sha256
    bytes: int = Field(ge=1)


class Pins(Section):
    """What the shards must come out as."""

    documents: int
    train: ShardPin
    validation: ShardPin
    sealed: ShardPin


class TopicFile(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")
    description: str = ""  # one line for `swarm topic list`
    note: str = ""  # anything a reader of the file should know
    goal: str | None = Field(default=None, max_length=16_000)
    budgets: Budgets = Budgets()
    acceptance: Acceptance = Acceptance()
    base: dict[str, Value] = {}
    space: dict[str, Parameter] = {}
    corpus: Source = Field(discriminator="source")
    split: Split = Split()
    shards: Pins | None = None


class SpaceFile(Section):
    """configs/gpt.toml: the base config and its search space."""

    base: dict[str, Value]
    space: dict[str, Parameter] = Field(min_length=1)


SOURCES: dict[str, type[Section]] = {"wheel": WheelSource, "files": FilesSource, "download": DownloadSource}
PARAMETERS: dict[str, type[BaseModel]] = {"int": IntParameter, "float": FloatParameter, "choice": ChoiceParameter}


def read_topic_file(path: Path) -> TopicFile:
    """Raises TopicError."""
    tables = _read_toml(path, "topic")
    _refuse_unknown_keys(path, tables)
    return _checked(path, TopicFile, tables)


def read_space_file(path: Path) -> SpaceFile:
    tables = _read_toml(path, "search space")
    _known(path, "", tables, SpaceFile.model_fields)
    _refuse_unknown_in_space(path, tables)
    return _checked(path, SpaceFile, tables)


def _read_toml(path: Path, what: str) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TopicError(f"cannot read the {what} file {path}: {error.strerror}; check the path") from None
    if len(content) > MAX_FILE_BYTES:
        raise TopicError(f"{path} is larger than {MAX_FILE_BYTES} bytes, so it is not a {what} file")
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        raise TopicError(f"{path} is not UTF-8 text (byte {error.start}); a {what} file is TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise TopicError(f"{path} is not valid TOML: {error}") from None


def _checked(path: Path, model: type[SectionT], tables: Mapping[str, Any]) -> SectionT:
    try:
        # through JSON, because strict pydantic takes a TOML array for a tuple only there
        return model.model_validate_json(json.dumps(tables))
    except TypeError:
        raise TopicError(f"{path} holds a date or a time, which no setting of a topic is") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(_key_path(first["loc"]))
        given = first["input"]
        shown = f" = {given!r}" if isinstance(given, (bool, int, float, str)) else ""
        raise TopicError(f"{path}: {where or 'the file'}{shown} is refused: {first['msg']}") from None


def _key_path(location: tuple[int | str, ...]) -> list[str]:
    """Where the file has it: without the tag that pydantic puts in for the chosen kind of source or parameter."""
    tag = {"corpus": 1, "space": 2}.get(str(location[0])) if location else None
    return [str(part) for index, part in enumerate(location) if index != tag]


def _refuse_unknown_keys(path: Path, tables: Mapping[str, Any]) -> None:
    """Before pydantic looks: a misspelt key must not become a missing one, or worse, a default."""
    _known(path, "", tables, TopicFile.model_fields)
    for name, fields in (
        ("budgets", Budgets.model_fields),
        ("acceptance", Acceptance.model_fields),
        ("split", Split.model_fields),
        ("shards", Pins.model_fields),
    ):
        _known(path, name, tables.get(name), fields)
    corpus: object = tables.get("corpus")
    if isinstance(corpus, dict):
        table = cast("dict[str, object]", corpus)
        kind = SOURCES.get(str(table.get("source")))
        if kind is not None:
            _known(path, "corpus", table, kind.model_fields)
        files = table.get("files")
        for item in cast("list[object]", files) if isinstance(files, list) else []:
            _known(path, "corpus.files", item, RemoteText.model_fields)
    _refuse_unknown_in_space(path, tables)


def _refuse_unknown_in_space(path: Path, tables: Mapping[str, Any]) -> None:
    space: object = tables.get("space")
    for name, parameter in cast("dict[str, object]", space).items() if isinstance(space, dict) else ():
        if isinstance(parameter, dict):
            table = cast("dict[str, object]", parameter)
            kind = PARAMETERS.get(str(table.get("kind")))
            if kind is not None:
                _known(path, f"space.{name}", table, kind.model_fields)


def _known(path: Path, where: str, table: object, known: Iterable[str]) -> None:
    for key in cast("dict[str, object]", table) if isinstance(table, dict) else ():
        if key not in set(known):
            place = f"{where}.{key}" if where else key
            raise TopicError(f"{path}: unknown key {place!r}; {closest(key, known)}")


def closest(word: str, known: Iterable[str]) -> str:
    """'did you mean x?' or the whole list."""
    names = list(known)
    near = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names)}"
