"""The proposer that is a program of this node's person: any coding agent or script that edits files.

Owns running it: the clock, the end of its process group, what is kept of its output, and how its failures are told.
It runs with all rights of its person, who chose it; it is not the stranger's code that the sandbox is for. What lies in
its folder, and what is taken from there, is checkout.py's.
"""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from node.proposers.checkout import Edited, make_checkout, read_checkout
from node.proposers.edits import EditRefused, check_source
from node.proposers.peer_code import carries_peer_code
from node.proposers.port import Failure, ProposerFailed, Request, build_proposal, is_new, plain_line
from node.results.git import ResultsError
from node.trials.folders import remove
from swarm.finding import Proposal
from swarm.words import Operator

NAME = "command"
# Coding agents take minutes. A trial does not wait for it: quick stand-ins serve, and a late answer is kept.
ANSWER_SECONDS = 600.0
TERMINATE_SECONDS = 1.0  # between asking it to end and ending it
DRAIN_SECONDS = 0.5  # for what is still in a pipe that somebody else holds open
MAX_OUTPUT_BYTES = 64 << 20  # printed; an agent that shows every token prints a megabyte
KEPT_BYTES = 4096  # of the end of what it printed
SAID_LINES = 5  # last ones of its output that become the rationale, if it wrote no PROPOSAL.md
SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
LEAST_SECRET_CHARS = 8
LEAST_PIECE_CHARS = 4  # of one that was cut


@dataclass
class _Tail:
    """The end of a stream."""

    kept: bytes = b""
    total: int = 0

    async def drain(self, stream: trio.abc.ReceiveStream, give_up: Callable[[], None]) -> None:
        """To its end; `give_up` is called when that does not come."""
        async for chunk in stream:
            self.total += len(chunk)
            self.kept = (self.kept + bytes(chunk))[-KEPT_BYTES:]
            if self.total > MAX_OUTPUT_BYTES:
                give_up()
                return

    def lines(self) -> list[str]:
        spoken = (plain_line(line, 300) for line in self.kept.decode("utf-8", "replace").splitlines())
        return [line for line in spoken if line]


@dataclass(frozen=True)
class _Ran:
    status: int
    said: list[str]
    complained: list[str]


class AgentCommand:
    """Runs `command` by the shell in a fresh checkout of the parent for each idea."""

    name = NAME

    def __init__(
        self,
        command: str,
        scratch: Path,
        copied: Mapping[str, Path] | None = None,
        env: Mapping[str, str] = os.environ,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._command, self._scratch, self._copied = command, scratch, copied or {}
        self._env, self._answer_seconds = env, answer_seconds
        self._cleaned = False

    async def propose(self, request: Request) -> Proposal:
        """Its edit as a proposal, or ProposerFailed with the reason; its folder is gone afterwards."""
        if carries_peer_code(request.parent.finding.proposal, request.brief.source_sha256, request.known.get):
            raise _failed(Failure.REFUSED, "is not shown a train.py that has a peer's code in it: it has your rights")
        if not self._cleaned:
            await remove(self._scratch)  # of a node that was killed
            self._cleaned = True
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="agent-", dir=self._scratch))
        except OSError as error:
            raise _failed(Failure.UNUSABLE, f"has no folder to work in: {error.strerror}") from None
        try:
            return await self._propose_in(folder, request)
        except (EditRefused, ResultsError) as error:
            raise _failed(Failure.UNUSABLE, f"left nothing to try: {error}") from None
        except OSError as error:
            raise _failed(Failure.UNUSABLE, f"could not be run: {error.strerror}") from None
        finally:
            await remove(folder)

    async def _propose_in(self, folder: Path, request: Request) -> Proposal:
        checkout = folder / "checkout"
        checkout.mkdir()
        await make_checkout(checkout, request, self._copied)
        ran = await self._run(checkout)
        if ran.status != 0:
            last = [*ran.said[-1:], *ran.complained[-1:]][-1:] or ["it said nothing"]
            how = f"exit status {ran.status}" if ran.status > 0 else f"signal {-ran.status}"
            raise _failed(Failure.UNUSABLE, f"ended with {how}: {self._masked(last[0])}")
        edited = read_checkout(checkout, request)
        self._refuse_secrets(edited)
        if not is_new(request, edited.config, edited.source):
            raise EditRefused("it changed nothing, or what was tried already")
        if edited.source is not None:
            await check_source(edited.source)
        return self._built(request, edited, ran)

    def _built(self, request: Request, edited: Edited, ran: _Ran) -> Proposal:
        title = edited.title or ("change of train.py" if edited.source is not None else "")
        return build_proposal(
            request,
            proposer=NAME,
            operator=Operator.IMPROVE,
            config=edited.config,
            source=edited.source,
            title=self._masked(title),
            rationale=self._masked(edited.rationale) or " ".join(map(self._masked, ran.said[-SAID_LINES:])),
        )

    async def _run(self, checkout: Path) -> _Ran:
        """To its end, and the end of everything in its process group."""
        process = await trio.lowlevel.open_process(
            ["/bin/sh", "-c", self._command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=checkout,
            env={k: v for k, v in self._env.items() if not k.startswith("GIT_")},
            start_new_session=True,  # Ctrl-C in a terminal is for the node, which ends it in order
        )
        said, complained = _Tail(), _Tail()
        try:
            with trio.move_on_after(self._answer_seconds) as scope:
                await _listen(process, said, complained, scope.cancel)
                assert process.returncode is not None
                return _Ran(process.returncode, said.lines(), complained.lines())
            if max(said.total, complained.total) > MAX_OUTPUT_BYTES:
                raise _failed(Failure.UNUSABLE, f"printed more than {MAX_OUTPUT_BYTES >> 20} MiB")
            raise _failed(Failure.TIMED_OUT, f"gave no answer within {self._answer_seconds:g} s")
        finally:
            await _end(process)

    def _secrets(self) -> list[str]:
        """What must never be published, as far as names of variables tell."""
        named = (v for k, v in self._env.items() if any(word in k.upper() for word in SECRET_NAMES))
        return [value for value in named if len(value) >= LEAST_SECRET_CHARS]

    def _masked(self, text: str) -> str:
        """Also what a cut has left of one at either end."""
        for secret in self._secrets():
            text = text.replace(secret, "***")
            pieces = range(len(secret) - 1, LEAST_PIECE_CHARS - 1, -1)
            whole = text.rstrip("…")
            text = next((whole[:-n] + "***" for n in pieces if whole.endswith(secret[:n])), text)
            text = next(("***" + text[n:] for n in pieces if text.startswith(secret[-n:])), text)
        return text

    def _refuse_secrets(self, edited: Edited) -> None:
        """A finding is public, its train.py too."""
        written = [edited.source or "", *(str(value) for value in edited.config.values())]
        if any(secret in text for secret in self._secrets() for text in written):
            raise EditRefused("it wrote a key or password of the environment into its change")


def _failed(reason: Failure, what: str) -> ProposerFailed:
    return ProposerFailed(reason, f"the agent command {what}")


async def _listen(process: trio.Process, said: _Tail, complained: _Tail, give_up: Callable[[], None]) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(said.drain, process.stdout, give_up)
        nursery.start_soon(complained.drain, process.stderr, give_up)
        await process.wait()
        _signal(process, signal.SIGKILL)  # what it has left running in its group
        nursery.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS


async def _end(process: trio.Process) -> None:
    """Politely, then not; also while everything is being cancelled."""
    with trio.CancelScope(shield=True):
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is not None:
                break
            _signal(process, number)
            with trio.move_on_after(TERMINATE_SECONDS):
                await process.wait()
                _signal(process, signal.SIGKILL)  # the rest of its group
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                await stream.aclose()


def _signal(process: trio.Process, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
