"""The corpus on disk: documents split by the hash of their names, tokenized once, checked on every start.

Owns `<cache>/<recipe hash>/{train,validation,sealed}.bin, manifest.json`. Where documents come from is
`node/topics/documents.py`; what a corpus is called in a brief is `swarm.brief.Corpus`. Shards that come from peers are
fetched by `node/topics/fetching.py` into a folder of their own, and taken in here when they are whole.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from pydantic import ValidationError

from node.topics.documents import CorpusError, Document, Place, fingerprint, read_documents
from node.topics.download import Progress, disk_error, file_sha256
from node.topics.topic_file import Pins, Split, TopicFile
from swarm.brief import Corpus, Shard
from swarm.words import Frozen, SwarmError

ShardName = Literal["train", "validation", "sealed"]
# Bytes below which a shard is no use: a context must fit, and a mean over less is mostly noise. Guesses.
SMALLEST_SHARD: dict[ShardName, int] = {"train": 16 * 1024, "validation": 4 * 1024, "sealed": 1024}
RULES = 1  # of naming, splitting, ordering and joining documents; other rules make other shards


class Manifest(Frozen):
    """manifest.json: what the shards were made from and what they must still be."""

    format: Literal[1] = 1
    recipe: dict[str, object]
    corpus: Corpus


@dataclass(frozen=True)
class PreparedCorpus:
    corpus: Corpus
    shards: Path  # folder with train.bin, validation.bin, sealed.bin


def prepare_corpus(topic: TopicFile, folder: Path, cache: Path, on_progress: Progress) -> PreparedCorpus:
    """The topic's shards, from the cache where they are whole, else made now. Raises SwarmError."""
    place = Place(topic.name, folder, cache / "downloads" / topic.name, on_progress)
    recipe = {
        "rules": RULES,
        "tokenizer": "bytes",
        "split": topic.split.model_dump(mode="json"),
        "text": fingerprint(topic.corpus, place),
    }
    shards = cache / _sha256(recipe)
    found = _inspect(shards)
    if isinstance(found, Corpus):
        _check_pins(topic, found)
        return PreparedCorpus(found, shards)
    if found:
        on_progress(f"{found}; making the shards of topic {topic.name} again", 0, None)
    try:
        return PreparedCorpus(_make(topic, place, recipe, shards), shards)
    except OSError as error:
        raise disk_error(error, shards) from None
    except SwarmError as error:
        if found:
            raise CorpusError(f"{found}, and the shards cannot be made again: {error}") from None
        raise


def find_shards(corpus: Corpus, cache: Path) -> Path | None:
    """The folder in `cache` that holds exactly this corpus, whole, whatever it was made from."""
    for manifest in sorted(cache.glob("*/manifest.json")):
        if _inspect(manifest.parent) == corpus:
            return manifest.parent
    return None


def shard_files(corpus: Corpus) -> dict[str, Shard]:
    """File name in a folder of shards -> what it holds."""
    return {f"{name}.bin": _shard(corpus, name) for name in SMALLEST_SHARD}


def receiving_folder(corpus: Corpus, cache: Path) -> Path:
    """Where shards from peers are collected. The same at each start: what has come is gone on with."""
    return cache / f".receiving-{_sha256(_recipe_of_peers(corpus))}"


def take_in(corpus: Corpus, cache: Path) -> Path:
    """The shards that were received become a corpus of the cache, from where they are checked at every start."""
    recipe, received = _recipe_of_peers(corpus), receiving_folder(corpus, cache)
    shards = cache / _sha256(recipe)
    try:
        manifest = Manifest(recipe=recipe, corpus=corpus)
        (received / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if shards.exists():  # damaged: else nothing would have been fetched
            shutil.rmtree(shards)
        received.rename(shards)
    except OSError as error:
        raise disk_error(error, shards) from None
    return shards


def _recipe_of_peers(corpus: Corpus) -> dict[str, object]:
    return {"from": "peers", "corpus": corpus.model_dump(mode="json")}


def _inspect(shards: Path) -> Corpus | str:
    """The corpus in a folder; or what is wrong with it in a few words, empty when there is none."""
    try:
        manifest = Manifest.model_validate_json((shards / "manifest.json").read_bytes())
        if _sha256(manifest.recipe) != shards.name:
            return f"{shards / 'manifest.json'} was changed"
        for name in SMALLEST_SHARD:
            path, expected = shards / f"{name}.bin", _shard(manifest.corpus, name)
            if path.stat().st_size != expected.tokens or file_sha256(path) != expected.sha256:
                return f"{path} is not what was written (truncated or changed)"
    except ValidationError:
        return f"{shards / 'manifest.json'} is not a corpus manifest"
    except OSError as error:
        return f"{error.filename} cannot be read ({error.strerror})" if shards.exists() else ""
    return manifest.corpus


def _make(topic: TopicFile, place: Place, recipe: Mapping[str, object], shards: Path) -> Corpus:
    """Write beside, then rename: a kill at any instant leaves either nothing or all of it."""
    shards.parent.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(shards.parent)
    documents = read_documents(topic.corpus, place)
    split = split_documents(documents, topic.split)
    _check_sizes(topic, split)
    building = shards.parent / f".building-{os.getpid()}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        written: dict[ShardName, Shard] = {}
        for number, (name, members) in enumerate(split.items(), 1):
            written[name] = _write_shard(building / f"{name}.bin", members)
            place.on_progress("tokenizing", number, len(split))
        corpus = Corpus(documents=len(documents), **written)
        _check_pins(topic, corpus)
        manifest = Manifest(recipe=dict(recipe), corpus=corpus)
        (building / "manifest.json").write_text(manifest.model_dump_json(indent=1) + "\n", encoding="utf-8")
        if shards.exists():
            shutil.rmtree(shards)
        building.rename(shards)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return corpus


def split_documents(documents: Iterable[Document], split: Split) -> dict[ShardName, list[Document]]:
    """By the hash of the name, never by position: neighbours repeat each other. Shards are in the order of hashes."""
    keyed = sorted((_name_hash(document.name, split.salt), document) for document in documents)
    shards: dict[ShardName, list[Document]] = {"train": [], "validation": [], "sealed": []}
    for key, document in keyed:
        place = int(key[:16], 16) % 1000
        if place < split.validation_per_mille:
            shards["validation"].append(document)
        elif place < split.validation_per_mille + split.sealed_per_mille:
            shards["sealed"].append(document)
        else:
            shards["train"].append(document)
    return shards


def _name_hash(name: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}\0{name}".encode(errors="surrogateescape")).hexdigest()


def _joined(document: Document) -> bytes:
    """A document that does not end its last line gets a line end, so that the next one starts on its own line."""
    text = document.text
    return text if not text or text.endswith(b"\n") else text + b"\n"


def _write_shard(path: Path, documents: Iterable[Document]) -> Shard:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for document in documents:
            text = _joined(document)
            file.write(text)
            digest.update(text)
            size += len(text)
    return Shard(sha256=digest.hexdigest(), raw_bytes=size, tokens=size)  # one token per byte


def _check_sizes(topic: TopicFile, split: Mapping[ShardName, list[Document]]) -> None:
    sizes = {name: sum(len(_joined(document)) for document in members) for name, members in split.items()}
    if not any(sizes.values()):
        raise CorpusError(f"the corpus of topic {topic.name} is empty: its files hold no text; check [corpus] there")
    for name, smallest in SMALLEST_SHARD.items():
        if sizes[name] < smallest:
            remedy = "add text" if name == "train" else f"add text or raise split.{name}_per_mille"
            raise CorpusError(
                f"the {name} shard of topic {topic.name} is too small: {sizes[name]} bytes from {len(split[name])} of "
                f"{sum(map(len, split.values()))} documents, at least {smallest} are needed; {remedy}"
            )


def _check_pins(topic: TopicFile, corpus: Corpus) -> None:
    """A shipped topic says what must come out; anything else is an error, never another number."""
    pins: Pins | None = topic.shards
    if pins is None:
        return
    for name in SMALLEST_SHARD:
        pin, found = getattr(pins, name), _shard(corpus, name)
        if (pin.sha256, pin.bytes) != (found.sha256, found.raw_bytes):
            raise CorpusError(
                f"the {name} shard of topic {topic.name} came out as {found.raw_bytes} bytes, sha256 {found.sha256}, "
                f"but the topic file pins {pin.bytes} bytes, sha256 {pin.sha256}; its text or its split was changed: "
                "restore the topic file, or give the changed topic another name and other [shards]"
            )
    if pins.documents != corpus.documents:
        raise CorpusError(f"topic {topic.name} has {corpus.documents} documents, its file pins {pins.documents}")


def _shard(corpus: Corpus, name: ShardName) -> Shard:
    return {"train": corpus.train, "validation": corpus.validation, "sealed": corpus.sealed}[name]


def _clear_leftovers(cache: Path) -> None:
    """Folders of builds that were killed."""
    for path in cache.glob(".building-*"):
        pid = path.name.removeprefix(".building-")
        if not pid.isdigit() or not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _sha256(recipe: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
