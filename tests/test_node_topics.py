import dataclasses
import hashlib
import re
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from node import shipped
from node.topics.loading import adopt_topic, describe_topic, load_topic, shipped_topics
from node.topics.topic_file import TopicError, read_topic_file
from swarm.brief import brief_id, decode_brief, encode_brief
from swarm.words import SwarmError

LINE = "a loom by the fen, a tern over the dale, a quill in the ash\n"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with a text of 120 documents and its topic file."""
    (tmp_path / "text.txt").write_text("\n---\n".join(f"{i} {LINE * 10}" for i in range(150)))
    (tmp_path / "own.toml").write_text(
        'name = "own"\n[corpus]\nsource = "files"\npaths = ["text.txt"]\nseparator = "---"\n'
    )
    return tmp_path


def with_text(folder: Path, more: str) -> str:
    path = folder / "own.toml"
    path.write_text(more + "\n" + path.read_text() if not more.startswith("[") else path.read_text() + more)
    return str(path)


# -- shipped topics


def test_the_four_topics_ship() -> None:
    assert shipped_topics() == ["climbmix", "pysource", "tinyshakespeare", "tinystories"]


@pytest.mark.parametrize("name", ["climbmix", "pysource", "tinyshakespeare", "tinystories"])
def test_shipped_topic_can_be_described_without_its_text(name: str) -> None:
    summary = describe_topic(name)
    assert summary.name == name
    assert summary.description
    assert summary.size_bytes
    assert summary.problem == ""
    assert summary.needs_download == (name != "pysource")


@pytest.mark.parametrize("name", ["climbmix", "tinyshakespeare", "tinystories"])
def test_every_shipped_download_is_pinned(name: str) -> None:
    tables = tomllib.loads((shipped.configs() / "topics" / f"{name}.toml").read_text())
    for file in tables["corpus"]["files"]:
        assert re.fullmatch(r"[0-9a-f]{64}", file["sha256"])
        assert file["url"].startswith("https://")


def test_shipped_goal_is_the_default_goal(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    assert topic.brief.goal == (shipped.configs() / "goal.md").read_text()
    assert "val_bpb" in topic.brief.goal


def test_shipped_file_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(SwarmError, match="install research-swarm again"):
        shipped.shipped_text(tmp_path, "goal.md")


# -- briefs


def test_brief_is_its_bytes(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    assert decode_brief(topic.brief_bytes) == topic.brief
    assert topic.brief_id == brief_id(topic.brief_bytes) == hashlib.sha256(topic.brief_bytes).hexdigest()
    assert topic.name == "own"
    assert topic.brief.source == (shipped.experiments() / "train.py").read_text()


def test_loading_twice_is_the_same_topic(own: Path) -> None:
    assert load_topic(str(own / "own.toml"), own / "cache") == load_topic(str(own / "own.toml"), own / "cache")


def test_topic_file_overrides_the_shipped_configuration(own: Path) -> None:
    path = with_text(
        own,
        '[base]\nwidth = 96\n[space.width]\nkind = "choice"\noptions = [64, 96]\n[budgets]\ncpu = 10\n'
        "[acceptance]\nnoise_sd = 0.05\n",
    )
    brief = load_topic(with_text(own, 'goal = "Be quick."') and path, own / "cache").brief
    assert brief.base_config["width"] == 96
    assert brief.space.parameters["width"].model_dump()["options"] == (64, 96)
    assert set(brief.base_config) == set(brief.space.parameters)
    assert (brief.budgets.cpu, brief.budgets.gpu) == (10.0, 300.0)
    assert (brief.acceptance.noise_sd, brief.acceptance.z) == (0.05, 2.0)
    assert brief.goal == "Be quick."


# -- bad input


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("x = = 1", r"own\.toml is not valid TOML: .*line 1"),
        ("descripton = 'x'", r"unknown key 'descripton'; did you mean 'description'\?"),
        ("[split]\nvalidation_permille = 5", r"unknown key 'split\.validation_permille'; did you mean 'validation_per"),
        ("[budgets]\ncpus = 5", r"unknown key 'budgets\.cpus'; did you mean 'cpu'\?"),
        ("[acceptance]\nsigma = 5", r"unknown key 'acceptance\.sigma'; known are noise_sd, .*z"),
        ("[space.width]\nkind = 'int'\nlo = 1\nhigh = 5", r"unknown key 'space\.width\.lo'; did you mean 'low'\?"),
        ("[split]\nvalidation_per_mille = 0", r"split\.validation_per_mille = 0 is refused: .*greater than"),
        ("[budgets]\ncpu = -1", r"budgets\.cpu = -1 is refused"),
        ("[budgets]\ncpu = nan", r"budgets\.cpu = nan is refused"),
        ("[budgets]\ncpu = 2026-01-01", "holds a date"),
        ("[base]\nwidth = 65", r"config value out of range: width = 65"),
        ("[base]\nwidht = 64", r"unknown config key 'widht'"),
        ("[space.width]\nkind = 'int'\nlow = 5\nhigh = 1", r"bounds 5\.\.1 are not a range"),
        ("[space.width]\nkind = 'whole'\nlow = 5\nhigh = 1", r"space\.width is refused: .*'int', 'float', 'choice'"),
    ],
)
def test_bad_topic_file_is_one_sentence(own: Path, more: str, sentence: str) -> None:
    path = with_text(own, more)
    with pytest.raises(TopicError, match=sentence) as caught:
        load_topic(path, own / "cache")
    assert "own.toml" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (own / "cache").exists()  # found before any text was touched


@pytest.mark.parametrize(
    ("corpus", "sentence"),
    [
        ("source = 'web'", "does not match any of the expected tags: 'wheel', 'files', 'download'"),
        ("paths = ['x']", "corpus is refused"),
        ("source = 'files'\npaths = []", r"corpus\.paths is refused"),
        ("source = 'files'\npath = ['x']", r"unknown key 'corpus\.path'; did you mean 'paths'\?"),
        ("source = 'download'\nfiles = [{ url = 'ftp://x/y' }]", r"corpus\.files\.0\.url = 'ftp://x/y' is refused"),
        ("source = 'download'\nfiles = [{ link = 'x' }]", r"unknown key 'corpus\.files\.link'"),
        ("source = 'download'\nfiles = [{url='http://a/x'}, {url='http://b/x'}]", "two files have the same name"),
        ("source = 'wheel'\npackage = 'sympy'", r"corpus\.version is refused: Field required"),
    ],
)
def test_bad_corpus_section_is_one_sentence(tmp_path: Path, corpus: str, sentence: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f'name = "own"\n[corpus]\n{corpus}\n')
    with pytest.raises(TopicError, match=sentence):
        read_topic_file(path)


def test_unknown_topic_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match=r"unknown topic 'pysorce'; did you mean 'pysource'"):
        load_topic("pysorce", tmp_path)


def test_missing_topic_file(tmp_path: Path) -> None:
    with pytest.raises(TopicError, match=r"there is no topic file .*gone\.toml"):
        load_topic(str(tmp_path / "gone.toml"), tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"#" * 300_000])
def test_file_that_is_no_topic_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.toml").write_bytes(content)
    with pytest.raises(TopicError, match=r"x\.toml is (not UTF-8|larger than)"):
        load_topic(str(tmp_path / "x.toml"), tmp_path)


# -- a brief from a peer


def test_adopting_a_brief_finds_its_text_in_the_cache(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    (own / "own.toml").unlink()
    assert adopt_topic(topic.brief_bytes, own / "cache") == topic


def test_adopting_a_brief_takes_the_text_from_a_named_file(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    adopted = adopt_topic(topic.brief_bytes, own / "other", reference=str(own / "own.toml"))
    assert dataclasses.replace(adopted, shards=topic.shards) == topic
    assert (adopted.shards / "train.bin").read_bytes() == (topic.shards / "train.bin").read_bytes()


def test_adopting_a_brief_keeps_the_peers_goal_and_source(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    theirs = encode_brief(topic.brief.model_copy(update={"goal": "Another goal."}))
    assert adopt_topic(theirs, own / "cache").brief.goal == "Another goal."
    assert adopt_topic(theirs, own / "cache").brief_id != topic.brief_id


def test_adopting_a_brief_without_its_text(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    with pytest.raises(
        TopicError, match=r"the text of topic 'own' .* is not on this machine; .*swarm join TICKET.*--topic FILE\.toml"
    ):
        adopt_topic(topic.brief_bytes, own / "other")


def test_adopting_a_brief_with_other_text(own: Path) -> None:
    topic = load_topic(str(own / "own.toml"), own / "cache")
    (own / "text.txt").write_text((own / "text.txt").read_text().replace("tern", "tarn"))
    with pytest.raises(SwarmError, match="is not that of topic 'own'"):
        adopt_topic(topic.brief_bytes, own / "other", reference=str(own / "own.toml"))


# -- downloaded topics, end to end over loopback


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def download_topic(folder: Path, files: str) -> str:
    path = folder / "stories.toml"
    path.write_text(f'name = "stories"\n[corpus]\nsource = "download"\nseparator = "<|endoftext|>"\n{files}')
    return str(path)


def test_downloaded_topic_needs_the_server_once(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    files = ""
    for name in ("a.txt", "b.txt"):
        text = "\n<|endoftext|>\n".join(f"{name} {i} {LINE * 8}" for i in range(90)).encode()
        (folder / name).write_bytes(text)
        files += f'[[corpus.files]]\nurl = "{address}/{name}"\nsha256 = "{hashlib.sha256(text).hexdigest()}"\n'
    reference = download_topic(tmp_path, files)
    seen: list[tuple[str, int, int | None]] = []
    topic = load_topic(reference, tmp_path / "cache", lambda *step: seen.append(step))
    assert topic.brief.corpus.documents == 180
    assert ("a.txt", (folder / "a.txt").stat().st_size, (folder / "a.txt").stat().st_size) in seen
    for name in ("a.txt", "b.txt"):
        (folder / name).unlink()
    assert load_topic(reference, tmp_path / "cache") == topic


def test_unpinned_download_is_never_used(tmp_path: Path, served: tuple[Path, str]) -> None:
    folder, address = served
    (folder / "a.txt").write_text(LINE * 5000)
    reference = download_topic(tmp_path, f'[[corpus.files]]\nurl = "{address}/a.txt"\n')
    assert "sha256" in describe_topic(reference).problem
    digest = hashlib.sha256((folder / "a.txt").read_bytes()).hexdigest()
    with pytest.raises(SwarmError, match=f'no pinned hash.*sha256 = "{digest}"'):
        load_topic(reference, tmp_path / "cache")
