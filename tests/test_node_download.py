import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from node.topics.download import DiskError, DownloadError, RemoteFile, download, file_name

CONTENT = random.Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class FileServer(ThreadingHTTPServer):
    """Serves one file in ways a test chooses."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.content = CONTENT
        self.ranges = True  # understands Range
        self.shift = 0  # ranges start so many bytes beside what was asked for
        self.cuts: list[int] = []  # the next answers break off after so many bytes
        self.statuses: list[int] = []  # the next answers are only these
        self.asked: list[str | None] = []  # Range headers, as they came

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/folder/corpus.txt"


class Answer(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        if self.server.statuses:
            self.send_error(self.server.statuses.pop(0))
            return
        content, start = self.server.content, 0
        if asked and self.server.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-")) - self.server.shift
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else len(content)
        self.wfile.write(content[start : start + cut])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def pauses() -> list[float]:
    return []


def pinned(server: FileServer) -> RemoteFile:
    return RemoteFile(server.url, SHA256, len(CONTENT))


def test_whole_file_arrives_with_progress(server: FileServer, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    path = download(pinned(server), tmp_path / "new" / "corpus.txt", lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == ("corpus.txt", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert [entry.name for entry in path.parent.iterdir()] == ["corpus.txt"]


def test_file_that_is_there_needs_no_server(tmp_path: Path) -> None:
    target = tmp_path / "corpus.txt"
    target.write_bytes(CONTENT)
    assert download(RemoteFile("http://127.0.0.1:1/corpus.txt", SHA256), target) == target


def test_connection_cut_half_way_goes_on_where_it_stopped(
    server: FileServer, tmp_path: Path, pauses: list[float]
) -> None:
    server.cuts = [1_000_000, 500_000]
    path = download(pinned(server), tmp_path / "corpus.txt", pause=pauses.append)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]
    assert pauses == [0.5, 0.5]  # each attempt brought something, so the pause does not grow


def test_part_of_an_earlier_start_is_continued(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt.part").write_bytes(CONTENT[:2_000_000])
    download(pinned(server), tmp_path / "corpus.txt")
    assert server.asked == ["bytes=2000000-"]


def test_part_that_is_complete_already_is_only_checked(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt.part").write_bytes(CONTENT)
    path = download(RemoteFile(server.url, SHA256), tmp_path / "corpus.txt")  # size unknown: the server must say it
    assert path.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_server_without_ranges_starts_over(server: FileServer, tmp_path: Path, pauses: list[float]) -> None:
    server.ranges, server.cuts = False, [1_000_000]
    path = download(pinned(server), tmp_path / "corpus.txt", pause=pauses.append)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-"]


def test_server_that_answers_another_range_is_asked_for_the_whole(
    server: FileServer, tmp_path: Path, pauses: list[float]
) -> None:
    server.shift = 10
    (tmp_path / "corpus.txt.part").write_bytes(CONTENT[:1000])
    assert download(pinned(server), tmp_path / "corpus.txt", pause=pauses.append).read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]
    assert pauses == [0.5]


def test_part_of_another_file_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt.part").write_bytes(b"x" * 1000)
    path = download(pinned(server), tmp_path / "corpus.txt")
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_other_bytes_are_moved_aside_and_said(server: FileServer, tmp_path: Path) -> None:
    server.content = b"y" * len(CONTENT)
    with pytest.raises(DownloadError, match="sent another file than the pinned one") as caught:
        download(pinned(server), tmp_path / "corpus.txt")
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["corpus.txt.wrong"]


def test_longer_file_than_pinned_is_not_taken_to_its_end(server: FileServer, tmp_path: Path) -> None:
    server.content = CONTENT * 10
    with pytest.raises(DownloadError, match="sent another file"):
        download(pinned(server), tmp_path / "corpus.txt")
    assert (tmp_path / "corpus.txt.wrong").stat().st_size < len(server.content)


def test_wrong_file_put_there_by_hand_is_replaced(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_bytes(b"not it")
    path = download(pinned(server), tmp_path / "corpus.txt")
    assert path.read_bytes() == CONTENT
    assert (tmp_path / "corpus.txt.wrong").read_bytes() == b"not it"


def test_offline_is_one_sentence_that_says_what_to_do(tmp_path: Path, pauses: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    target = tmp_path / "corpus.txt"
    with pytest.raises(DownloadError) as caught:
        download(RemoteFile(f"http://127.0.0.1:{port}/corpus.txt", SHA256), target, pause=pauses.append)
    sentence = str(caught.value)
    assert f"cannot download corpus.txt from http://127.0.0.1:{port}/corpus.txt" in sentence
    assert f"put it at {target}" in sentence
    assert "pysource" in sentence
    assert "\n" not in sentence
    assert pauses == [0.5, 1.0, 2.0, 4.0]  # bounded


def test_network_lost_on_the_way_keeps_the_part(server: FileServer, tmp_path: Path, pauses: list[float]) -> None:
    server.cuts, server.statuses = [1_000_000], []

    def lose_network(seconds: float) -> None:
        pauses.append(seconds)
        server.statuses = [503]

    with pytest.raises(DownloadError, match="1000000 bytes are kept"):
        download(pinned(server), tmp_path / "corpus.txt", pause=lose_network)
    assert (tmp_path / "corpus.txt.part").stat().st_size == 1_000_000


def test_passing_server_error_is_tried_again(server: FileServer, tmp_path: Path, pauses: list[float]) -> None:
    server.statuses = [503, 429]
    assert download(pinned(server), tmp_path / "corpus.txt", pause=pauses.append).read_bytes() == CONTENT
    assert pauses == [0.5, 1.0]


def test_missing_file_is_not_tried_again(server: FileServer, tmp_path: Path, pauses: list[float]) -> None:
    server.statuses = [404]
    with pytest.raises(DownloadError, match="404"):
        download(pinned(server), tmp_path / "corpus.txt", pause=pauses.append)
    assert pauses == []


def test_unpinned_file_is_named_with_its_hash_and_refused(server: FileServer, tmp_path: Path) -> None:
    remote = RemoteFile(server.url, None)
    for _ in range(2):  # the second time the file is there already
        with pytest.raises(DownloadError, match=f'sha256 = "{SHA256}"'):
            download(remote, tmp_path / "corpus.txt")
    assert len(server.asked) == 1


def test_callers_stop_leaves_the_part(server: FileServer, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(_what: str, _done: int, _total: int | None) -> None:
        raise Stop

    with pytest.raises(Stop):
        download(pinned(server), tmp_path / "corpus.txt", stop)
    assert (tmp_path / "corpus.txt.part").exists()
    assert not (tmp_path / "corpus.txt").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_is_one_sentence_and_the_part_stays(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt.part").symlink_to("/dev/full")
    with pytest.raises(DiskError, match=r"no room left on the disk of .*corpus\.txt .*are kept"):
        download(pinned(server), tmp_path / "corpus.txt")
    assert (tmp_path / "corpus.txt.part").is_symlink()


def test_proxy_that_cannot_be_used_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "gopher://127.0.0.1:70")
    with pytest.raises(DownloadError, match="proxy setting of the environment"):
        download(RemoteFile("http://host.invalid/corpus.txt", SHA256), tmp_path / "corpus.txt")


def test_proxy_from_the_environment_is_used(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("no_proxy", "")
    remote = RemoteFile("http://host.invalid/corpus.txt", SHA256)  # a name that only a proxy could reach
    assert download(remote, tmp_path / "corpus.txt").read_bytes() == CONTENT


def test_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="not an address"):
        download(RemoteFile("http://host:port/x.txt", SHA256), tmp_path / "x.txt")


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://h/a/b.txt?download=true#x", "b.txt"), ("http://h/a/..", "download"), ("http://h/", "download")],
)
def test_file_name_of_an_address_stays_in_its_folder(url: str, name: str) -> None:
    assert file_name(url) == name
