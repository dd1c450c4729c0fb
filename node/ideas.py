"""Where a node's ideas come from besides its proposer: a program of its person, and the code of its peers.

Owns the rules of who is allowed to meet whom. What a peer wrote runs only where a sandbox holds it, and is never shown
to a program that has its person's rights.
"""

from collections.abc import Callable

from node.events import Events, ProposalRefused
from node.home import Home
from node.notebook import Notebook
from node.proposers.agent_arm import AgentArm, Turn
from node.proposers.agent_command import AgentCommand
from node.proposers.auto import Kind
from node.proposers.peer_code import PeerCode, carries_peer_code
from node.proposers.port import Proposer
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Author, may_run, takes_peer_code
from node.trials.hardware import Hardware
from swarm.trial import Track
from swarm.words import SwarmError, short


def agent_of(
    command: str | None, peer_code: bool | None, home: Home, events: Events
) -> Callable[[Turn, Proposer], Proposer] | None:
    """Puts the agent command in front of another proposer; None without one. Raises SwarmError, a usage error."""
    if command is None:
        return None
    if peer_code:
        raise SwarmError(
            "--peer-code does not go with --agent-command: a peer's code would be read by a program with your rights"
        )
    shown = {"program.md": home.path / "program.md", "NOTES.md": home.results / "NOTES.md"}
    agent = AgentCommand(command, home.scratch / "agent", shown)

    def count(reason: str) -> None:
        events.emit(ProposalRefused(stage=agent.name, proposer=agent.name, title="", reason=reason))

    def in_front(turn: Turn, other: Proposer) -> Proposer:
        return AgentArm(agent, other, lambda text: events.notice(text, warning=True), count, turn=turn)

    return in_front


def with_peer_code(
    proposer: Proposer,
    kind: Kind,
    asked: bool | None,
    command: str | None,
    hardware: Hardware,
    confinement: Confinement,
    events: Events,
) -> Proposer:
    """`proposer`, behind peers' changes of train.py where those are tried; one arm alone stays alone."""
    gpu, reader = hardware.device != "cpu", command is not None
    if kind not in ("auto", "classic", "llm", "crossover"):
        return proposer
    if not takes_peer_code(confinement.backend, gpu=gpu, reader=reader, asked=asked):
        return proposer

    def refused(finding: str, reason: str) -> None:
        title = f"code of finding {short(finding)}"
        events.emit(ProposalRefused(stage="merge", proposer="classic/crossover", title=title, reason=reason))

    return PeerCode(proposer, refused)


def check_branch(notebook: Notebook, track: Track, confinement: Confinement) -> None:
    """What a peer wrote does not run where nothing holds it, whatever was said at launch. Raises SwarmError."""
    best = notebook.ledger.branch_best(notebook.me, track)
    held = may_run(Author.PEER, confinement.backend, unsafe=confinement.unsafe)
    if best is None or held or not confinement.code_may_change:
        return
    if carries_peer_code(best.finding.proposal, notebook.brief.source_sha256, notebook.ledger.get):
        raise SwarmError(
            "the branch's train.py has a peer's code in it, and no sandbox works here that could hold it: leave out "
            "--unsafe, then only configs are searched, or see `swarm doctor`"
        )
