"""The channel to the process that runs a candidate's model: token batches out, logits back.

Owns the shared memory and the requests. What sits at the other end is hostile: it may answer early, twice, with another
number, rewrite the memory whenever it likes, or not answer. So the memory is sealed (nobody can shrink it under our
feet), a reply is a few fixed bytes that must repeat the request's random ticket, and logits are copied before they are
looked at. Nothing here parses what the other end has written, and nothing it prints is read.

    request   ticket u64, slot u32, rows u32, length u32, then rows * length tokens u16    all little-endian
    reply     ticket u64, status u32, 4 zero bytes, name of an exception's type in 32 bytes
    memory    two slots of float32 logits (rows, length, vocabulary): while one is scored the other is filled
"""

import builtins
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import numpy as np
import trio
from numpy.typing import NDArray

from node.trials.scoring import Batch, Tokens
from swarm.words import Outcome

SLOTS = 2
REQUEST, REPLY = struct.Struct("<QIII"), struct.Struct("<QI4x32s")
ANSWERED, FAILED, OUT_OF_MEMORY = 0, 1, 2
BATCH_LOGITS = 2**25  # numbers a slot holds at most: 128 MiB
BATCH_TOKENS = {"cpu": 4096, "cuda": 65536}  # per forward pass; on a CPU the logits stay in cache (measured)
# The only words of the other end that a person gets to read. Free text could carry validation text out.
_BUILTIN = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, Exception)}
_KNOWN_NAMES = _BUILTIN | {"SafetensorError", "WrongShape"}

Keep = Callable[[Batch, NDArray[np.float32]], None]  # gets a private copy, its own until it returns; runs in a thread


class BadAnswer(Exception):
    """The other end gave no answer that can be scored. Ends this measurement, never the node."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome, self.reason = outcome, reason


def batch_tokens(device: str, vocab_size: int) -> int:
    """Tokens that are asked at once."""
    return max(1, min(BATCH_TOKENS[device], BATCH_LOGITS // vocab_size))


class AnswerChannel:
    """Asks one process. `descriptors` are for that process; all of it is closed at the end of the block."""

    def __init__(self, vocab_size: int, tokens: int, tickets: np.random.Generator) -> None:
        self._vocab_size, self._tokens, self._tickets = vocab_size, tokens, tickets
        self._open = ExitStack()
        self._expected: list[int] = []

    def __enter__(self) -> Self:
        size = 4 * SLOTS * self._tokens * self._vocab_size
        memory = os.memfd_create("logits", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._open.callback(os.close, memory)
        os.ftruncate(memory, size)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        ours, theirs = socket.socketpair()
        self._open.enter_context(theirs)
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._open.callback(self._socket.close)
        mapped = mmap.mmap(memory, size, prot=mmap.PROT_READ)  # unmapped with the last array that looks at it: ours
        self._slots = np.frombuffer(mapped, "<f4").reshape(SLOTS, self._tokens, self._vocab_size)
        # One for all copies, the kernel's own: the megabytes that each took from the heap of its thread stayed there.
        private = mmap.mmap(-1, size // SLOTS)
        self._private = np.frombuffer(private, "<f4").reshape(self._tokens, self._vocab_size)
        self.descriptors = (theirs.fileno(), memory)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._open.close()
        del self._slots, self._private  # whoever still has this object, as a traceback does, has no megabytes of it

    async def ask_all(
        self, batches: Sequence[Batch], tokens: Callable[[Batch], Tokens], keep: Keep, *, last_only: bool = False
    ) -> None:
        """Ask every batch, in order, and let `keep` have (B*T, V) logits of it, or only its last positions' (B, V)."""
        self._expected = [int(ticket) for ticket in self._tickets.integers(1, 2**63, len(batches))]
        for number, batch in enumerate(batches[:SLOTS]):
            await self._ask(number, tokens(batch))
        for number, batch in enumerate(batches):
            await self._hear(number)
            # First our own copy, then the slot is given away, and only then the copy is scored.
            private = await trio.to_thread.run_sync(self._copy, number, batch, last_only)
            if number + SLOTS < len(batches):
                await self._ask(number + SLOTS, tokens(batches[number + SLOTS]))
            await trio.to_thread.run_sync(keep, batch, private)
        self._refuse_more()

    async def _ask(self, number: int, tokens: Tokens) -> None:
        head = REQUEST.pack(self._expected[number], number % SLOTS, *tokens.shape)
        rest = memoryview(head + tokens.astype("<u2").tobytes())
        try:
            while rest:
                rest = rest[await self._socket.send(rest) :]
        except OSError:
            raise BadAnswer(Outcome.REJECTED, "it closed the channel on which it is asked") from None

    async def _hear(self, number: int) -> None:
        reply = b""
        while len(reply) < REPLY.size:
            try:
                chunk = await self._socket.recv(REPLY.size - len(reply))
            except OSError:
                chunk = b""
            if not chunk:
                raise BadAnswer(Outcome.REJECTED, "it closed the channel on which it is asked")
            reply += chunk
        ticket, status, name = REPLY.unpack(reply)
        if status == OUT_OF_MEMORY:
            raise BadAnswer(Outcome.OUT_OF_MEMORY, "out of memory")
        if status != ANSWERED:
            raise BadAnswer(Outcome.CRASHED, _known(name))
        if ticket != self._expected[number]:
            raise BadAnswer(Outcome.REJECTED, "it sent a reply to a request that was not made")

    def _copy(self, number: int, batch: Batch, last_only: bool) -> NDArray[np.float32]:
        rows, length = len(batch.begins), batch.length
        answered = self._slots[number % SLOTS, : rows * length]
        answered = answered[length - 1 :: length] if last_only else answered
        private = self._private[: len(answered)]
        np.copyto(private, answered)
        return private

    def _refuse_more(self) -> None:
        try:
            extra = os.read(self._socket.fileno(), 1)
        except BlockingIOError:
            return
        if extra:
            raise BadAnswer(Outcome.REJECTED, "it sent a reply to a request that was not made")


def _known(name: bytes) -> str:
    text = name.rstrip(b"\0").decode("ascii", errors="replace")
    return text if text in _KNOWN_NAMES else "an exception of its own"
