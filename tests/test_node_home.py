"""A home belongs to one node at a time, however that node ended, and says clearly when it cannot be used."""

import signal
import stat
import subprocess
import sys

import pytest

from node.home import Home, HomeError, write_atomically


def test_a_second_lock_is_refused_and_names_the_process(tmp_path):
    home = Home(tmp_path)
    home.create()
    assert not home.running()
    with home.lock():
        assert home.running()
        with pytest.raises(HomeError, match=r"another node \(process \d+\) is running"), Home(tmp_path).lock():
            pass
    assert not home.running()


def test_kill_9_frees_the_lock(tmp_path):
    script = (
        "import sys; from node.home import Home; from pathlib import Path\nh = Home(Path(sys.argv[1])); h.create()\n"
    )
    script += "with h.lock():\n print('locked', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        assert Home(tmp_path).running()
        process.send_signal(signal.SIGKILL)
        process.wait()
        with Home(tmp_path).lock():
            pass


def test_a_file_in_the_way_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HomeError, match=r"cannot use .*choose a writable directory with --home"):
        Home(tmp_path / "file" / "home").create()


def test_looking_needs_a_node_that_was_there(tmp_path):
    with pytest.raises(HomeError, match="no node has run in"):
        Home(tmp_path).require()


def test_home_is_private(tmp_path):
    home = Home(tmp_path / "home")
    home.create()
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00"])
def test_a_damaged_state_file_is_an_empty_state(tmp_path, text):
    home = Home(tmp_path)
    home.state.write_text(text)
    assert home.read_state() == {}


def test_state_round_trip(tmp_path):
    home = Home(tmp_path)
    home.write_state({"name": "Zoë"})
    assert home.read_state() == {"name": "Zoë"}


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "x"
    target.mkdir()
    with pytest.raises(OSError, match=r"directory"):
        write_atomically(target, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
