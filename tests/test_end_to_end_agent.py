"""A node whose ideas come from a program: edit, smoke run in the sandbox, repair, trial, commit; all of it real."""

import shlex
from pathlib import Path

import pytest
from node_process import NodeProcess, facts, write_topic
from sandbox_world import FOUND

from node.sandbox.policy import Backend

pytestmark = [
    pytest.mark.end_to_end,
    pytest.mark.skipif(FOUND.backend is Backend.NONE, reason="no sandbox works here, so no code may change"),
]

# Breaks train.py at first, repairs it when told so, then has nothing more to say.
AGENT = """
if [ -f FAILURE.txt ]; then
    grep -q "has no attribute 'manual_sead'" FAILURE.txt || exit 7
    sed -i 's/manual_sead/manual_seed/; s/0.95 \\* smoothed/0.9 * smoothed/' train.py
    printf '# Mended\\n\\nA shorter memory.\\n' > PROPOSAL.md
elif [ ! -f "$0.done" ]; then
    touch "$0.done"
    sed -i 's/manual_seed(arguments.seed)/manual_sead(arguments.seed)/' train.py
fi
"""


def test_a_program_breaks_train_py_repairs_it_and_its_edit_is_a_finding(tmp_path):
    topic, agent, home = write_topic(tmp_path / "topic"), tmp_path / "agent.sh", tmp_path / "home"
    agent.write_text(AGENT)
    options = ["--proposer", "command", "--agent-command", f"sh {shlex.quote(str(agent))}"]
    with NodeProcess("launch", "--topic", str(topic), *options, home=home) as node:
        broken = node.wait_for("proposal_refused")
        assert (broken["stage"], broken["sent_back"], broken["proposer"]) == ("smoke", True, "command")
        assert "has no attribute 'manual_sead'" in broken["reason"]
        node.wait_for("finding_recorded", lambda event: event["title"] == "Mended")
        if not any(event["stage"] == "command" for event in node.happened("proposal_refused")):
            node.wait_for("proposal_refused", lambda event: event["stage"] == "command")  # it changed nothing any more
        node.terminate()
    (mended,) = [f for f in facts("log", home)["findings"] if f["proposer"] == "command"]
    assert (mended["operator"], mended["title"], mended["rationale"]) == ("repair", "Mended", "A shorter memory.")
    assert mended["outcome"] == "measured", mended["reason"]
    counted = facts("status", home)["refused_proposals"]
    assert (counted["smoke"], counted["command"] >= 1) == (1, True)
    assert any(arm["arm"] == "command" for arm in facts("status", home)["arms"])
    patch = next(Path(home / "results" / "runs").glob(f"{mended['number']:04}-*/patch.diff")).read_text()
    assert "+        smoothed, smoothing = 0.9 * smoothed" in patch
