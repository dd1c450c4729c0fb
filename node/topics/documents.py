"""The documents behind a corpus: an installed package's source, people's own files, or downloaded ones.

Owns where text comes from and what one document is. Does not decide which document goes into which shard.
"""

import glob
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from node.topics.download import Progress, RemoteFile, download, file_name, file_sha256
from node.topics.topic_file import DownloadSource, FilesSource, Source, TextFormat, WheelSource
from swarm.words import SwarmError

FEW_DOCUMENTS = 100  # below this a split by document is a lottery, so documents are cut into blocks; guess
WANTED_BLOCKS = 200
BLOCK_BYTES = (512, 16 * 1024)  # smallest and largest block when the topic file does not state a size
PROGRESS_EVERY = 64  # documents


class CorpusError(SwarmError):
    """The text of a topic is missing, or is not the text the topic names."""


class Document(NamedTuple):
    name: str  # decides the shard: relative path, or file name and index
    text: bytes


@dataclass(frozen=True)
class Place:
    """Where a topic's text is looked for."""

    topic: str
    folder: Path  # of the topic file
    downloads: Path
    on_progress: Progress


def fingerprint(source: Source, place: Place) -> dict[str, object]:
    """What decides every document, found without reading more than it must. Raises CorpusError."""
    if isinstance(source, WheelSource):
        _installed(source, place.topic)
        return {"source": "wheel", "package": source.package, "version": source.version, "sha256": source.sha256}
    form: dict[str, object] = {"separator": source.separator, "block_bytes": source.block_bytes}
    if isinstance(source, FilesSource):
        return {"source": "files", "files": [[name, digest] for name, _, digest in _own_files(source, place)], **form}
    pins = [[file_name(file.url), file.sha256] for file in source.files]
    return {"source": "download", "files": pins, "format": source.format, "column": source.column, **form}


def read_documents(source: Source, place: Place) -> list[Document]:
    """All documents, in the order of the source. Raises SwarmError."""
    if isinstance(source, WheelSource):
        return _from_wheel(source, place)
    if isinstance(source, FilesSource):
        files = [(name, _read(path)) for name, path, _ in _own_files(source, place)]
        return _cut(_from_texts(files, source.separator), source)
    return _cut(_from_downloads(source, place), source)


# -- an installed package ------------------------------------------------------------------------------------------


def _installed(source: WheelSource, topic: str) -> Path:
    """The folder of the package, found without importing it (sympy takes seconds)."""
    fix = f"pip install {source.package}=={source.version}"
    try:
        version = importlib.metadata.version(source.package)
    except importlib.metadata.PackageNotFoundError:
        raise CorpusError(
            f"topic {topic} reads the source of {source.package} {source.version}, which is not installed here; "
            f"install it with: {fix}"
        ) from None
    spec = importlib.util.find_spec(source.package)
    if spec is None or not spec.submodule_search_locations:
        raise CorpusError(
            f"{source.package} {version} is installed without a folder of source files; install it again: {fix}"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    if version != source.version:
        raise CorpusError(
            f"found {source.package} {version} at {root}, but topic {topic} needs {source.version}, because other text "
            f"gives other numbers; install it with: {fix}"
        )
    return root


def _from_wheel(source: WheelSource, place: Place) -> list[Document]:
    root = _installed(source, place.topic)
    named = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob(source.pattern))
    kept = [(name, path) for name, path in named if not set(source.exclude) & set(name.split("/")[:-1])]
    documents: list[Document] = []
    for number, (name, path) in enumerate(kept, 1):
        documents.append(Document(name, _read(path)))
        if number % PROGRESS_EVERY == 0 or number == len(kept):
            place.on_progress(f"reading {source.package} {source.version}", number, len(kept))
    size, found = sum(len(document.text) for document in documents), documents_sha256(documents)
    if (len(documents), size, found) != (source.file_count, source.size_bytes, source.sha256):
        raise CorpusError(
            f"the files of {source.package} {source.version} at {root} were changed: {len(documents)} files, {size} "
            f"bytes, sha256 {found[:12]}, but topic {place.topic} needs {source.file_count} files, {source.size_bytes} "
            f"bytes, sha256 {source.sha256[:12]}; install it again with: "
            f"pip install --force-reinstall --no-deps {source.package}=={source.version}"
        )
    return documents


def documents_sha256(documents: Sequence[Document]) -> str:
    """One hash over sorted names, lengths and contents."""
    digest = hashlib.sha256()
    for name, text in sorted(documents):
        digest.update(f"{name}\0{len(text)}\0".encode())
        digest.update(text)
    return digest.hexdigest()


# -- one's own files -----------------------------------------------------------------------------------------------


def _own_files(source: FilesSource, place: Place) -> list[tuple[str, Path, str]]:
    """(name relative to the topic file, path, sha256) of every file, sorted by name, pins checked."""
    found: dict[str, Path] = {}
    for pattern in source.paths:
        matches = [Path(text) for text in _matches(place.folder, pattern) if Path(text).is_file()]
        if not matches:
            raise CorpusError(
                f"topic {place.topic}: no text file {pattern!r} in {place.folder} (paths are relative to the topic "
                "file); check corpus.paths"
            )
        found |= {Path(os.path.relpath(path, place.folder)).as_posix(): path for path in matches}
    for name in source.sha256:
        if name not in found:
            raise CorpusError(f"topic {place.topic}: corpus.sha256 pins {name!r}, which corpus.paths does not name")
    return [(name, path, _pinned_sha256(source, place, name, path)) for name, path in sorted(found.items())]


def _matches(folder: Path, pattern: str) -> list[str]:
    if glob.has_magic(pattern):
        return glob.glob(os.path.join(glob.escape(str(folder)), pattern), recursive=True)
    return [str(folder / pattern)]


def _pinned_sha256(source: FilesSource, place: Place, name: str, path: Path) -> str:
    try:
        found = file_sha256(path)
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; check that you may read it") from None
    pin = source.sha256.get(name)
    if pin is not None and found != pin:
        raise CorpusError(
            f"topic {place.topic}: {path} has sha256 {found}, but the topic file pins {pin}; get the right file or "
            "change the pin, which makes it another topic"
        )
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror}; check that you may read it") from None


# -- downloads -----------------------------------------------------------------------------------------------------


def _from_downloads(source: DownloadSource, place: Place) -> list[Document]:
    parquet = _parquet(place.topic) if source.format == "parquet" else None  # before, not after, a long download
    paths = [
        download(
            RemoteFile(file.url, file.sha256, file.bytes), place.downloads / file_name(file.url), place.on_progress
        )
        for file in source.files
    ]
    if parquet is None:
        return _from_texts([(path.name, _read(path)) for path in paths], source.separator)
    return [document for path in paths for document in _rows(parquet, path, source.column, place)]


def _parquet(topic: str) -> Any:  # pyarrow has no type information
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise CorpusError(
            f"topic {topic} comes as parquet files, which need pyarrow; install the extra with: "
            "pip install 'research-swarm[parquet]'"
        ) from None


def _rows(parquet: Any, path: Path, column: str, place: Place) -> Iterator[Document]:
    try:
        file = parquet.ParquetFile(path)
        names = list(file.schema_arrow.names)
        if column not in names:
            raise CorpusError(
                f"{path} has no column {column!r}, it has {', '.join(names)}; set corpus.column in the topic file"
            )
        number = 0
        for batch in file.iter_batches(columns=[column]):
            for value in batch.column(0).to_pylist():
                text = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else b""
                if text.strip():
                    yield Document(f"{path.name}#{number}", text)
                number += 1
            place.on_progress(f"reading {path.name}", number, file.metadata.num_rows)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise CorpusError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from None


# -- texts into documents ------------------------------------------------------------------------------------------


def _from_texts(files: Sequence[tuple[str, bytes]], separator: str | None) -> list[Document]:
    if separator is None:
        return [Document(name, text) for name, text in files if text.strip()]
    return [
        Document(f"{name}#{index}", part.strip(b"\r\n"))
        for name, text in files
        for index, part in enumerate(text.split(separator.encode()))
        if part.strip()
    ]


def _cut(documents: list[Document], form: TextFormat) -> list[Document]:
    """The documents, or blocks of them where they are too few to be split fairly."""
    if len(documents) >= FEW_DOCUMENTS:
        return documents
    smallest, largest = BLOCK_BYTES
    total = sum(len(document.text) for document in documents)
    size = form.block_bytes or min(max(total // WANTED_BLOCKS, smallest), largest)
    return [
        Document(f"{name}#{index}", block)
        for name, text in documents
        for index, block in enumerate(_blocks(text, size))
    ]


def _blocks(text: bytes, size: int) -> Iterator[bytes]:
    """Pieces of at most `size` bytes that end at a line end, or a space, where there is one."""
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            cut = text.rfind(b"\n", start, end) + 1 or text.rfind(b" ", start, end) + 1
            end = cut or end
        yield text[start:end]
        start = end
