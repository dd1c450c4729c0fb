"""`swarm export`: what was written is read back with the other tool's own library.

These libraries take seconds to import: everything that is asked of one is asked in one process.
"""

import json
import os
import subprocess
import sys

import pytest
from small_home import furnish

ONE_PROCESS = """
import contextlib, io, json, sys
from pathlib import Path
from node.cli import main

def swarm(*arguments):
    sys.argv, out, err = ["swarm", *arguments], io.StringIO(), io.StringIO()
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            status = end.code
    return status, out.getvalue(), err.getvalue()

tool, home, out = sys.argv[1:]
first, again = (swarm("export", tool, "--home", home, "--out", out, "--json") for _ in range(2))
file = Path(out).parent / "file"
file.write_text("")
refused = swarm("export", tool, "--home", home, "--out", str(file / "x"))
print(json.dumps({"first": first, "again": again, "refused": refused, "read": read(json.loads(first[1]))}))
"""
READ_EVENTS = """
def read(told):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    folders = sorted(Path(told["folder"]).iterdir())
    second, = (one for one in folders if "-0002-" in one.name)
    said = EventAccumulator(str(second)); said.Reload()
    scalars = {tag: [[e.step, e.value] for e in said.Scalars(tag)] for tag in said.Tags()["scalars"]}
    return {"folders": len(folders), "scalars": scalars}
"""
READ_DATABASE = """
def read(told):
    from mlflow.tracking import MlflowClient
    client = MlflowClient(tracking_uri=told["look"].split()[-1])
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    curves = [[[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "train_loss")] for run in runs]
    return [[r.data.tags, r.data.params, r.data.metrics, r.info.status, c] for r, c in zip(runs, curves)]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("home")).path


def python(*arguments):
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False, env=quiet
    )


def asked(home, tool, reader, out):
    done = python("-c", reader + ONE_PROCESS, tool, home, out)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def findings(run, home):
    return json.loads(run("log", "--home", home, "--json")[1])["findings"]


def check_runs_are_written_once(said, own):
    for times, runs in (("first", len(own)), ("again", 0)):
        status, out, err = said[times]
        assert (status, json.loads(out)["runs"]) == (0, runs), err


def check_a_folder_that_cannot_be_written_is_one_sentence(said):
    status, _, err = said["refused"]
    assert status == 1
    assert err.startswith("swarm: runs cannot be written to"), err
    assert err.count("\n") == 1


def test_tensorboard_reads_every_run_with_its_curve(home, run, tmp_path):
    own, said = findings(run, home), asked(home, "tensorboard", READ_EVENTS, tmp_path / "out")
    check_runs_are_written_once(said, own)
    assert said["read"]["folders"] == len(own)
    read = said["read"]["scalars"]
    assert read["train_loss"] == [[1, 5.5], [9, 2.5]]
    number = next(finding["val_bpb"] for finding in own if finding["number"] == 2)
    assert [value for _, value in read["val_bpb"]] == [pytest.approx(number)]
    check_a_folder_that_cannot_be_written_is_one_sentence(said)


def test_mlflow_reads_every_run_with_its_curve(home, run, tmp_path):
    own, said = findings(run, home), asked(home, "mlflow", READ_DATABASE, tmp_path / "out")
    check_runs_are_written_once(said, own)
    runs = {tags["finding"]: rest for tags, *rest in said["read"]}
    assert set(runs) == {finding["id"] for finding in own}
    for finding in own:
        parameters, metrics, status, curve = runs[finding["id"]]
        assert set(parameters) == set(finding["config"])
        assert metrics.get("val_bpb") == finding["val_bpb"]
        assert status == ("FINISHED" if finding["outcome"] == "measured" else "FAILED")
        assert curve == [[1, 5.5], [9, 2.5]]
    check_a_folder_that_cannot_be_written_is_one_sentence(said)


def test_a_tool_that_is_not_installed_is_one_sentence_that_says_how_to_get_it(home, run, tmp_path, monkeypatch):
    for tool in ("tensorboard", "mlflow"):
        monkeypatch.setitem(sys.modules, tool, None)
        status, _, err = run("export", tool, "--home", home, "--out", tmp_path / "x")
        assert status == 1
        assert f"pip install 'research-swarm[{tool}]'" in err
    assert not (tmp_path / "x").exists()
