"""Topics: from a name or a file to a brief and its shards.

Owns finding topic files and putting briefs together. Text and shards are `node/topics/corpus.py`, the file's shape is
`node/topics/topic_file.py`.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from node import shipped
from node.topics.corpus import find_shards, prepare_corpus, shard_files
from node.topics.documents import CorpusError
from node.topics.download import Progress
from node.topics.topic_file import (
    DownloadSource,
    FilesSource,
    Source,
    SpaceFile,
    TopicError,
    TopicFile,
    closest,
    read_space_file,
    read_topic_file,
)
from swarm.brief import MAX_BRIEF_BYTES, Brief, brief_id, decode_brief, encode_brief
from swarm.space import SearchSpace
from swarm.words import BriefError, BriefId, Config, short


@dataclass(frozen=True)
class Topic:
    """A brief whose text is on this machine."""

    name: str
    brief: Brief
    brief_bytes: bytes
    brief_id: BriefId
    shards: Path  # folder with train.bin, validation.bin, sealed.bin

    def blobs(self) -> dict[str, Path | bytes]:
        """All that somebody who joins needs, by its SHA-256."""
        files = {shard.sha256: self.shards / name for name, shard in shard_files(self.brief.corpus).items()}
        return {self.brief_id: self.brief_bytes, **files}


@dataclass(frozen=True)
class TopicSummary:
    """What `swarm topic list` says; made without reading or downloading any text."""

    name: str
    description: str
    note: str
    origin: str  # where the text comes from, for people
    size_bytes: int | None  # of the text's files, where the topic file says it
    needs_download: bool
    file: Path
    problem: str = ""  # why it cannot be used as it is, one sentence


def shipped_topics() -> list[str]:
    """Names, sorted."""
    return sorted(path.stem for path in (shipped.configs() / "topics").glob("*.toml"))


def load_topic(reference: str, cache: Path, on_progress: Progress | None = None) -> Topic:
    """The topic of a shipped name or a .toml file, its shards ready. May take seconds. Raises SwarmError."""
    path = _locate(reference)
    file = read_topic_file(path)
    start, space = _starting_point(file, path)  # before the text: a bad setting must not cost a download
    prepared = prepare_corpus(file, path.resolve().parent, cache, on_progress or _silent)
    try:
        brief = Brief(
            name=file.name,
            goal=file.goal if file.goal is not None else shipped.shipped_text(shipped.configs(), "goal.md"),
            editable={"train.py": shipped.shipped_text(shipped.experiments(), "train.py")},
            base_config=start,
            space=space,
            corpus=prepared.corpus,
            budgets=file.budgets,
            acceptance=file.acceptance,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise TopicError(f"{path}: {'.'.join(map(str, first['loc']))} {first['msg']}") from None
    return _topic(encode_brief(brief), prepared.shards)


def adopt_topic(
    brief_bytes: bytes, cache: Path, on_progress: Progress | None = None, reference: str | None = None
) -> Topic:
    """The topic of a brief that came from a peer, with text of this machine or of a topic file.

    `reference` names the topic file to take the text from; without it, the shipped topic of the brief's name.
    """
    brief = decode_brief(brief_bytes)
    shards = find_shards(brief.corpus, cache)
    if shards is None:
        if reference is None and brief.name not in shipped_topics():
            raise TopicError(
                f"the text of topic {brief.name!r} ({short(brief_id(brief_bytes))}) is not on this machine; get it "
                "from peers with `swarm join TICKET`, or name its topic file with --topic FILE.toml"
            )
        path = _locate(reference or brief.name)
        prepared = prepare_corpus(read_topic_file(path), path.resolve().parent, cache, on_progress or _silent)
        if prepared.corpus != brief.corpus:
            raise CorpusError(
                f"the text that {path} leads to is not that of topic {brief.name!r} ({short(brief_id(brief_bytes))}): "
                f"validation shard {prepared.corpus.validation.sha256[:12]} instead of "
                f"{brief.corpus.validation.sha256[:12]}; use the same version of research-swarm and the same text"
            )
        shards = prepared.shards
    return _topic(brief_bytes, shards)


def adopt_from_here(brief_bytes: bytes, cache: Path, on_progress: Progress | None = None) -> Topic | None:
    """The topic of a brief if its text is here already or can be made without a download; else None."""
    brief = decode_brief(brief_bytes)
    if (shards := find_shards(brief.corpus, cache)) is not None:
        return _topic(brief_bytes, shards)
    if brief.name not in shipped_topics() or describe_topic(brief.name).needs_download:
        return None
    try:
        return adopt_topic(brief_bytes, cache, on_progress)
    except CorpusError:  # a topic of the same name with another text
        return None


def describe_topic(reference: str) -> TopicSummary:
    """Raises SwarmError when the topic is unknown or its file is broken."""
    path = _locate(reference)
    file = read_topic_file(path)
    source = file.corpus
    unpinned = isinstance(source, DownloadSource) and any(remote.sha256 is None for remote in source.files)
    return TopicSummary(
        name=file.name,
        description=file.description,
        note=file.note,
        origin=_origin(source),
        size_bytes=_size_bytes(source),
        needs_download=isinstance(source, DownloadSource),
        file=path,
        problem="no sha256 is known for its files; add corpus.files.sha256" if unpinned else "",
    )


def _topic(brief_bytes: bytes, shards: Path) -> Topic:
    if len(brief_bytes) > MAX_BRIEF_BYTES:
        raise TopicError(
            f"the brief is {len(brief_bytes)} bytes, more than {MAX_BRIEF_BYTES}; shorten the goal or train.py"
        )
    brief = decode_brief(brief_bytes)
    return Topic(brief.name, brief, brief_bytes, brief_id(brief_bytes), shards)


def _locate(reference: str) -> Path:
    """A path when it looks like one, else a shipped name."""
    if reference.endswith(".toml") or "/" in reference or "\\" in reference:
        path = Path(reference).expanduser()
        if path.is_dir():
            raise TopicError(f"{path} is a folder; --topic takes the path of a topic file, such as mine.toml")
        if not path.is_file():
            raise TopicError(f"there is no topic file {path}; check the path")
        return path
    names = shipped_topics()
    if reference not in names:
        raise TopicError(
            f"unknown topic {reference!r}; {closest(reference, names)} (swarm topic list has all; "
            "one of your own goes by the path of its .toml file)"
        )
    return shipped.configs() / "topics" / f"{reference}.toml"


def _starting_point(file: TopicFile, path: Path) -> tuple[Config, SearchSpace]:
    """Base config and search space: the shipped ones, with what the topic file says on top."""
    common: SpaceFile = read_space_file(shipped.configs() / "gpt.toml")
    space = SearchSpace(parameters=common.space | file.space)
    try:
        return space.normalise(common.base | file.base), space
    except BriefError as error:
        raise TopicError(f"{path}: {error}") from None


def _origin(source: Source) -> str:
    if isinstance(source, DownloadSource):
        hosts = sorted({remote.url.split("/")[2] for remote in source.files})
        return f"download from {', '.join(hosts)}"
    if isinstance(source, FilesSource):
        return f"own files: {', '.join(source.paths)}"
    return f"source text of {source.package} {source.version}, installed here"


def _size_bytes(source: Source) -> int | None:
    if isinstance(source, FilesSource):
        return None
    if isinstance(source, DownloadSource):
        sizes = [remote.bytes for remote in source.files if remote.bytes is not None]
        return sum(sizes) if len(sizes) == len(source.files) else None
    return source.size_bytes


def _silent(_what: str, _done: int, _total: int | None) -> None:
    pass
