"""`swarm export`: what was written is read back with the other tool's own library."""

import json
import subprocess
import sys

import pytest
from small_home import furnish

READ_EVENTS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
said = EventAccumulator(sys.argv[1]); said.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in said.Scalars(tag)] for tag in said.Tags()["scalars"]}))
"""
READ_DATABASE = """
import json, logging, sys
logging.disable()
from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
curves = [[[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "train_loss")] for run in runs]
print(json.dumps([[r.data.tags, r.data.params, r.data.metrics, r.info.status, c] for r, c in zip(runs, curves)]))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return furnish(tmp_path_factory.mktemp("home")).path


def python(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, check=False)


def export(home, tool, out):
    done = python("-c", "from node.cli import main; main()", "export", tool, "--home", home, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def findings(home):
    done = python("-c", "from node.cli import main; main()", "log", "--home", home, "--json")
    return json.loads(done.stdout)["findings"]


def test_tensorboard_reads_every_run_with_its_curve(home, tmp_path):
    own = findings(home)
    assert export(home, "tensorboard", tmp_path)["runs"] == len(own)
    folders = sorted(path for path in tmp_path.iterdir())
    assert len(folders) == len(own)
    second = next(path for path in folders if "-0002-" in path.name)
    done = python("-c", READ_EVENTS, second)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["train_loss"] == [[1, 5.5], [9, 2.5]]
    number = next(finding["val_bpb"] for finding in own if finding["number"] == 2)
    assert [value for _, value in read["val_bpb"]] == [pytest.approx(number)]
    assert export(home, "tensorboard", tmp_path)["runs"] == 0, "nothing is written twice"


def test_mlflow_reads_every_run_with_its_curve(home, tmp_path):
    own = findings(home)
    told = export(home, "mlflow", tmp_path)
    assert told["runs"] == len(own)
    where = told["look"].split()[-1]
    done = python("-c", READ_DATABASE, where)
    assert done.returncode == 0, done.stderr
    runs = {tags["finding"]: rest for tags, *rest in json.loads(done.stdout)}
    assert set(runs) == {finding["id"] for finding in own}
    for finding in own:
        parameters, metrics, status, curve = runs[finding["id"]]
        assert set(parameters) == set(finding["config"])
        assert metrics.get("val_bpb") == finding["val_bpb"]
        assert status == ("FINISHED" if finding["outcome"] == "measured" else "FAILED")
        assert curve == [[1, 5.5], [9, 2.5]]
    assert export(home, "mlflow", tmp_path)["runs"] == 0, "nothing is written twice"


def test_a_folder_that_cannot_be_written_is_one_sentence(home, tmp_path):
    (tmp_path / "file").write_text("")
    for tool in ("tensorboard", "mlflow"):
        out = tmp_path / "file" / "x"
        done = python("-c", "from node.cli import main; main()", "export", tool, "--home", home, "--out", out)
        assert done.returncode == 1
        assert done.stderr.startswith("swarm: runs cannot be written to"), done.stderr
        assert done.stderr.count("\n") == 1


def test_a_tool_that_is_not_installed_is_one_sentence_that_says_how_to_get_it(home, tmp_path):
    hide = "import sys; sys.modules['tensorboard'] = sys.modules['mlflow'] = None; from node.cli import main; main()"
    for tool in ("tensorboard", "mlflow"):
        done = python("-c", hide, "export", tool, "--home", home, "--out", tmp_path / "x")
        assert done.returncode == 1
        assert f"pip install 'research-swarm[{tool}]'" in done.stderr
