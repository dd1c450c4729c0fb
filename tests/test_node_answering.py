"""The channel to a candidate's process: what of its memory the node holds, and for how long."""

import gc
import mmap
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trio
from numpy.typing import NDArray

from node.trials.answering import ANSWERED, REPLY, REQUEST, SLOTS, AnswerChannel
from node.trials.scoring import Batch, Tokens

VOCAB, ROWS, LENGTH = 4, 2, 3
BATCHES = [Batch(np.arange(ROWS), LENGTH) for _ in range(5)]


@pytest.fixture(autouse=True)
def nobody_collects() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def channel() -> AnswerChannel:
    return AnswerChannel(VOCAB, ROWS * LENGTH, np.random.default_rng(1))


def tokens(batch: Batch) -> Tokens:
    return np.zeros((ROWS, batch.length), np.uint16)


async def answer_all(descriptors: tuple[int, int]) -> None:
    """The other end: the number of the request as every logit."""
    size = SLOTS * ROWS * LENGTH * VOCAB * 4
    connection = trio.socket.from_stdlib_socket(socket.socket(fileno=os.dup(descriptors[0])))
    with mmap.mmap(descriptors[1], size) as memory, connection:
        for number in range(len(BATCHES)):
            request = await connection.recv(REQUEST.size + 2 * ROWS * LENGTH)
            ticket, slot, rows, length = REQUEST.unpack_from(request)
            logits = np.full(rows * length * VOCAB, number, "<f4").tobytes()
            begin = slot * (size // SLOTS)
            memory[begin : begin + len(logits)] = logits
            await connection.send(REPLY.pack(ticket, ANSWERED, b""))


async def ask(open_channel: AnswerChannel, *, last_only: bool = False) -> list[NDArray[np.float32]]:
    """What `keep` was given, as it was given: by now the channel has gone on."""
    given: list[NDArray[np.float32]] = []
    seen: list[tuple[float, int]] = []

    def keep(_: Batch, logits: NDArray[np.float32]) -> None:
        given.append(logits)
        seen.append((float(logits.max()), len(logits)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer_all, open_channel.descriptors)
        await open_channel.ask_all(BATCHES, tokens, keep, last_only=last_only)
    assert seen == [(float(number), ROWS if last_only else ROWS * LENGTH) for number in range(len(BATCHES))]
    return given


@pytest.mark.parametrize("last_only", [False, True])
async def test_all_answers_are_copied_to_one_place_which_no_candidate_can_write(last_only: bool):
    with channel() as open_channel:
        given = await ask(open_channel, last_only=last_only)
        assert all(np.shares_memory(given[0], logits) for logits in given)
        with mmap.mmap(open_channel.descriptors[1], 0) as theirs:
            theirs[:] = b"\xff" * len(theirs)
        assert not np.isnan(given[-1]).any()


async def test_a_channel_that_is_over_holds_no_memory_even_if_something_still_holds_the_channel():
    with channel() as open_channel:
        await ask(open_channel)
        assert "memfd:logits" in Path("/proc/self/maps").read_text()
    assert "memfd:logits" not in Path("/proc/self/maps").read_text()
