"""The table of recorded trials: what is written comes back, what is broken is one sentence."""

import json
from pathlib import Path

import pytest

from node.simulation.campaign import research_space, space_file
from node.simulation.table import Conditions, RecordedTrial, TableError, read_table, write_table
from swarm.words import Outcome

BASE = dict(space_file().base)
CONDITIONS = Conditions(
    topic="pysource", hardware_class="cpu-x86_64-1", threads=1, cpu_seconds=20.0, measured_bytes=131072, start=BASE
)


def trial(bpb: float | None = 3.4, seed: int = 1, **changed) -> RecordedTrial:
    outcome = Outcome.MEASURED if bpb is not None else Outcome.DIVERGED
    return RecordedTrial(
        campaign="classic 0",
        arm="tpe",
        config=BASE | changed,
        seed=seed,
        outcome=outcome,
        val_bpb=bpb,
        steps=600,
        tokens=1_200_000,
        parameters=139_904,
        train_seconds=19.9,
        curve=((0.3, 5.6), (19.9, 2.4)),
    )


def test_a_table_comes_back_as_it_was_written(tmp_path: Path):
    rows = (trial(), trial(2.9, width=128, optimizer="muon"), trial(None, learning_rate=0.03))
    write_table(tmp_path / "t.jsonl", CONDITIONS, rows)
    found = read_table(tmp_path / "t.jsonl", research_space())
    assert found.conditions == CONDITIONS
    assert found.rows == rows


def test_a_row_holds_only_what_differs_from_the_start(tmp_path: Path):
    write_table(tmp_path / "t.jsonl", CONDITIONS, [trial(), trial(width=128)])
    _, same, wider = (json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines())
    assert same["config"] == {}
    assert wider["config"] == {"width": 128}


def test_a_number_is_not_the_truth_value_it_equals(tmp_path: Path):
    start = CONDITIONS.model_copy(update={"start": {"depth": 1, "tied_embeddings": False}})
    row = trial().model_copy(update={"config": {"depth": True, "tied_embeddings": 0}})
    write_table(tmp_path / "t.jsonl", start, [row])
    (found,) = read_table(tmp_path / "t.jsonl").rows
    assert found.config["depth"] is True
    assert type(found.config["tied_embeddings"]) is int


def test_rows_of_another_space_are_left_out(tmp_path: Path):
    write_table(tmp_path / "t.jsonl", CONDITIONS, [trial(), trial(width=33)])
    assert len(read_table(tmp_path / "t.jsonl", research_space()).rows) == 1
    assert len(read_table(tmp_path / "t.jsonl").rows) == 2


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path):
    with pytest.raises(TableError, match=r"missing\.jsonl cannot be read"):
        read_table(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("text", ["", "\n", "[]\n", "{}\n", "not json\n"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str):
    (tmp_path / "t.jsonl").write_text(text)
    with pytest.raises(TableError):
        read_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"config": 3}', '{"campaign": "c", "arm": "a", "config": {}}', "1"])
def test_a_broken_row_is_named_by_its_line(tmp_path: Path, line: str):
    write_table(tmp_path / "t.jsonl", CONDITIONS, [trial()])
    with (tmp_path / "t.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(TableError, match="line 3"):
        read_table(tmp_path / "t.jsonl")


def test_a_binary_file_is_refused(tmp_path: Path):
    (tmp_path / "t.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError):
        read_table(tmp_path / "t.jsonl")
