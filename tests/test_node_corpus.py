import hashlib
import json
import random
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from node.topics.corpus import find_shards, prepare_corpus
from node.topics.documents import CorpusError, Document, documents_sha256
from node.topics.loading import load_topic
from node.topics.topic_file import TopicError, TopicFile, read_topic_file

SHARDS = ("train", "validation", "sealed")


def words(seed: int, count: int) -> str:
    """Lines of made-up words."""
    rng = random.Random(seed)
    line = [rng.choice("loom ash tern quill orb fen dale wisp").strip() for _ in range(count)]
    return "\n".join(" ".join(line[i : i + 8]) for i in range(0, count, 8)) + "\n"


def topic_file(folder: Path, corpus: str, rest: str = "") -> TopicFile:
    path = folder / "topic.toml"
    path.write_text(f'name = "own"\n{rest}\n[corpus]\n{corpus}\n')
    return read_topic_file(path)


def prepare(folder: Path, topic: TopicFile, said: list[str] | None = None):
    lines = said if said is not None else []
    return prepare_corpus(topic, folder, folder / "cache", lambda what, _done, _total: lines.append(what))


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """150 small text files in two folders."""
    for i in range(150):
        path = tmp_path / "texts" / ("deep" if i % 2 else ".") / f"{i:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(words(i, 400))
    return tmp_path


OWN_FILES = 'source = "files"\npaths = ["texts/**/*.txt"]'


# -- own files


def test_every_byte_of_every_file_is_in_exactly_one_shard(texts: Path) -> None:
    prepared = prepare(texts, topic_file(texts, OWN_FILES))
    files = [path.read_bytes() for path in (texts / "texts").rglob("*.txt")]
    shards = [(prepared.shards / f"{name}.bin").read_bytes() for name in SHARDS]
    assert sum(map(len, shards)) == sum(map(len, files))
    assert all(sum(file in shard for shard in shards) == 1 for file in files)
    assert prepared.corpus.documents == 150


def test_manifest_names_the_bytes_of_the_files(texts: Path) -> None:
    prepared = prepare(texts, topic_file(texts, OWN_FILES))
    for name in SHARDS:
        content, shard = (prepared.shards / f"{name}.bin").read_bytes(), getattr(prepared.corpus, name)
        assert shard.sha256 == hashlib.sha256(content).hexdigest()
        assert shard.raw_bytes == shard.tokens == len(content)


def test_where_the_folder_lies_does_not_matter(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    shutil.copytree(texts / "texts", other / "texts")
    first = prepare(texts, topic_file(texts, OWN_FILES))
    assert prepare(other, topic_file(other, OWN_FILES)).corpus == first.corpus


def test_a_document_keeps_its_shard_when_others_come(texts: Path) -> None:
    before = (prepare(texts, topic_file(texts, OWN_FILES)).shards / "validation.bin").read_bytes()
    (texts / "texts" / "000a.txt").write_text(words(1000, 400))
    after = (prepare(texts, topic_file(texts, OWN_FILES)).shards / "validation.bin").read_bytes()
    members = [p.read_bytes() for p in (texts / "texts").rglob("*.txt") if p.read_bytes() in before]
    assert members
    assert all(member in after for member in members)


def test_another_salt_is_another_split(texts: Path) -> None:
    first = prepare(texts, topic_file(texts, OWN_FILES))
    second = prepare(texts, topic_file(texts, OWN_FILES, 'split = { salt = "x" }'))
    assert first.corpus.validation != second.corpus.validation
    assert first.shards != second.shards


def test_changed_text_is_another_corpus(texts: Path) -> None:
    first = prepare(texts, topic_file(texts, OWN_FILES))
    (texts / "texts" / "000.txt").write_text(words(999, 400))
    assert prepare(texts, topic_file(texts, OWN_FILES)).corpus != first.corpus


def test_separator_makes_documents_of_one_file(tmp_path: Path) -> None:
    stories = [words(i, 300).strip() for i in range(200)]
    (tmp_path / "stories.txt").write_text("\n<|endoftext|>\n".join(stories) + "\n<|endoftext|>\n")
    topic = topic_file(tmp_path, 'source = "files"\npaths = ["stories.txt"]\nseparator = "<|endoftext|>"')
    prepared = prepare(tmp_path, topic)
    assert prepared.corpus.documents == 200
    joined = b"".join((prepared.shards / f"{name}.bin").read_bytes() for name in SHARDS)
    assert b"<|endoftext|>" not in joined
    assert all(story.encode() + b"\n" in joined for story in stories)


@pytest.mark.parametrize(("stated", "blocks"), [("", 203), ("\nblock_bytes = 1024", 143)])
def test_one_big_file_is_cut_into_blocks_at_line_ends(tmp_path: Path, stated: str, blocks: int) -> None:
    text = words(3, 80_000)
    (tmp_path / "big.txt").write_text(text)
    topic = topic_file(tmp_path, f'source = "files"\npaths = ["big.txt"]{stated}')
    prepared = prepare(tmp_path, topic)
    assert prepared.corpus.documents == blocks
    lines = set(text.splitlines())
    for name in SHARDS:
        assert set((prepared.shards / f"{name}.bin").read_text().splitlines()) <= lines  # no line was cut


def test_text_without_any_line_end_is_cut_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "big.txt").write_bytes(b"a" * 300_000)
    prepared = prepare(tmp_path, topic_file(tmp_path, 'source = "files"\npaths = ["big.txt"]'))
    assert prepared.corpus.documents == 200


def test_pinned_own_file_must_match(texts: Path) -> None:
    corpus = f'{OWN_FILES}\nsha256 = {{ "texts/000.txt" = "{"0" * 64}" }}'
    with pytest.raises(CorpusError, match=r"000\.txt has sha256 [0-9a-f]{64}, but the topic file pins 0000"):
        prepare(texts, topic_file(texts, corpus))


def test_pin_of_a_file_that_is_not_named(texts: Path) -> None:
    corpus = f'{OWN_FILES}\nsha256 = {{ "000.txt" = "{"0" * 64}" }}'
    with pytest.raises(CorpusError, match=r"pins '000\.txt', which corpus\.paths does not name"):
        prepare(texts, topic_file(texts, corpus))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"no text file 'gone\.txt' in"):
        prepare(tmp_path, topic_file(tmp_path, 'source = "files"\npaths = ["gone.txt"]'))


def test_empty_corpus(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n\n")
    with pytest.raises(CorpusError, match="corpus of topic own is empty"):
        prepare(tmp_path, topic_file(tmp_path, 'source = "files"\npaths = ["empty.txt"]'))


@pytest.mark.parametrize(("count", "shard"), [(3_000, "train"), (12_000, "validation")])
def test_too_little_text_for_a_shard(tmp_path: Path, count: int, shard: str) -> None:
    (tmp_path / "small.txt").write_text(words(5, count))
    with pytest.raises(CorpusError, match=f"the {shard} shard of topic own is too small"):
        prepare(tmp_path, topic_file(tmp_path, 'source = "files"\npaths = ["small.txt"]'))
    assert not list((tmp_path / "cache").glob("*/manifest.json"))


# -- the cache


def test_second_start_reads_the_cache(texts: Path) -> None:
    said: list[str] = []
    first = prepare(texts, topic_file(texts, OWN_FILES), said)
    assert said
    said.clear()
    assert prepare(texts, topic_file(texts, OWN_FILES), said) == first
    assert said == []


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "manifest", "recipe"])
def test_damaged_shards_are_made_again_and_said(texts: Path, damage: str) -> None:
    first = prepare(texts, topic_file(texts, OWN_FILES))
    path, manifest = first.shards / "validation.bin", first.shards / "manifest.json"
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(content[:-2] + b"zz")
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    elif damage == "remove":
        path.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"recipe": {}}))
    said: list[str] = []
    assert prepare(texts, topic_file(texts, OWN_FILES), said) == first
    assert path.read_bytes() == content
    assert "making the shards of topic own again" in said[0]
    assert str(first.shards) in said[0]


def test_damaged_shards_without_their_source_say_both(tmp_path: Path) -> None:
    site = make_wheel(tmp_path)
    topic = wheel_topic(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        first = prepare(tmp_path, topic)
        (first.shards / "train.bin").write_bytes(b"")
        shutil.rmtree(site / "tinywheel" / "part")
        with pytest.raises(
            CorpusError, match=r"train\.bin is not what was written.*cannot be made again.*were changed"
        ):
            prepare(tmp_path, topic)


def test_a_killed_build_leaves_nothing_behind(texts: Path) -> None:
    leftover = texts / "cache" / ".building-999999999"
    leftover.mkdir(parents=True)
    (leftover / "train.bin").write_bytes(b"half")
    prepared = prepare(texts, topic_file(texts, OWN_FILES))
    assert [path.name for path in (texts / "cache").iterdir()] == [prepared.shards.name]


def test_shards_are_found_by_corpus(texts: Path) -> None:
    prepared = prepare(texts, topic_file(texts, OWN_FILES))
    assert find_shards(prepared.corpus, texts / "cache") == prepared.shards
    assert find_shards(prepared.corpus, texts / "nowhere") is None
    (prepared.shards / "sealed.bin").write_bytes(b"")
    assert find_shards(prepared.corpus, texts / "cache") is None


def test_pinned_shards_must_come_out(texts: Path) -> None:
    shard = '{ bytes = 5, sha256 = "' + "0" * 64 + '" }'
    pins = f"shards = {{ documents = 150, train = {shard}, validation = {shard}, sealed = {shard} }}"
    with pytest.raises(CorpusError, match="train shard of topic own came out as"):
        prepare(texts, topic_file(texts, OWN_FILES, pins))
    assert not list((texts / "cache").glob("*/manifest.json"))


# -- an installed package


def make_wheel(folder: Path, version: str = "1.2") -> Path:
    """A package as pip leaves it: a folder of sources and its metadata."""
    site = folder / "site"
    for i in range(120):
        path = site / "tinywheel" / ("part" if i % 3 else "tests") / f"m{i:03}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# " + words(i, 500))
    (site / "tinywheel" / "__init__.py").write_text("raise RuntimeError('reading text must not import it')\n")
    metadata = site / f"tinywheel-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(f"Metadata-Version: 2.1\nName: tinywheel\nVersion: {version}\n")
    return site


def wheel_topic(folder: Path) -> TopicFile:
    root = folder / "site" / "tinywheel"
    kept = [path for path in root.rglob("*.py") if path.parent.name != "tests"]
    documents = [Document(path.relative_to(root).as_posix(), path.read_bytes()) for path in kept]
    return topic_file(
        folder,
        f'source = "wheel"\npackage = "tinywheel"\nversion = "1.2"\nexclude = ["tests"]\n'
        f"file_count = {len(documents)}\n"
        f'size_bytes = {sum(len(d.text) for d in documents)}\nsha256 = "{documents_sha256(documents)}"',
    )


def test_wheel_text_leaves_excluded_folders_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(make_wheel(tmp_path)))
    assert prepare(tmp_path, wheel_topic(tmp_path)).corpus.documents == 81  # 80 modules and __init__.py


def test_another_version_is_an_error_even_when_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_wheel(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    topic = wheel_topic(tmp_path)
    prepare(tmp_path, topic)
    old = site / "tinywheel-1.2.dist-info"
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: tinywheel\nVersion: 1.3\n")
    with pytest.raises(CorpusError, match=r"found tinywheel 1\.3 at .*needs 1\.2.*pip install tinywheel==1\.2"):
        prepare(tmp_path, topic)


def test_altered_file_is_an_error_and_never_another_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_wheel(tmp_path)
    monkeypatch.syspath_prepend(str(site))
    topic = wheel_topic(tmp_path)
    path = site / "tinywheel" / "part" / "m001.py"
    path.write_text(path.read_text().replace("o", "0"))
    with pytest.raises(CorpusError, match="were changed"):
        prepare(tmp_path, topic)
    assert not list((tmp_path / "cache").glob("*/manifest.json"))


def test_package_that_is_not_installed(tmp_path: Path) -> None:
    corpus = 'source = "wheel"\npackage = "no_such_package"\nversion = "1"\nfile_count = 1\nsize_bytes = 1\n'
    corpus += f'sha256 = "{"0" * 64}"'
    with pytest.raises(CorpusError, match="not installed here"):
        prepare(tmp_path, topic_file(tmp_path, corpus))


def test_pysource_has_the_pinned_figures(tmp_path: Path) -> None:
    topic = load_topic("pysource", tmp_path)
    corpus = topic.brief.corpus
    assert corpus.documents == 825
    assert corpus.train.raw_bytes + corpus.validation.raw_bytes + corpus.sealed.raw_bytes == 16_141_585
    assert (corpus.train.raw_bytes, corpus.validation.raw_bytes, corpus.sealed.raw_bytes) == (
        15_419_231,
        363_660,
        358_694,
    )
    assert load_topic("pysource", tmp_path) == topic


# -- parquet (the download itself is tested with topics and in test_node_download.py)


def parquet_topic(folder: Path, column: str = "text") -> TopicFile:
    """The file lies where a download would have put it, so that no server is needed."""
    place = folder / "cache" / "downloads" / "own"
    place.mkdir(parents=True, exist_ok=True)
    rows = [words(i, 300) if i % 10 else None for i in range(300)]
    table = pyarrow.table({"text": rows, "number": list(range(300))})
    pyarrow.parquet.write_table(table, place / "shard.parquet", row_group_size=64)
    digest = hashlib.sha256((place / "shard.parquet").read_bytes()).hexdigest()
    return topic_file(
        folder,
        f'source = "download"\nformat = "parquet"\ncolumn = "{column}"\n'
        f'files = [{{ url = "http://127.0.0.1:1/shard.parquet", sha256 = "{digest}" }}]',
    )


def test_parquet_rows_are_documents(tmp_path: Path) -> None:
    prepared = prepare(tmp_path, parquet_topic(tmp_path))
    assert prepared.corpus.documents == 270  # empty rows are none
    joined = b"".join((prepared.shards / f"{name}.bin").read_bytes() for name in SHARDS)
    assert words(1, 300).encode() in joined
    assert words(299, 300).encode() in joined


def test_parquet_without_the_column(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="has no column 'content', it has text, number"):
        prepare(tmp_path, parquet_topic(tmp_path, "content"))


def test_parquet_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)  # what an uninstalled package looks like
    with pytest.raises(CorpusError, match=r"research-swarm\[parquet\]"):
        prepare(tmp_path, parquet_topic(tmp_path))


def test_unreadable_cache_place(texts: Path) -> None:
    (texts / "cache").write_text("a file where the folder should be")
    with pytest.raises(Exception, match="cannot write") as caught:
        prepare(texts, topic_file(texts, OWN_FILES))
    assert not isinstance(caught.value, (OSError, TopicError))
