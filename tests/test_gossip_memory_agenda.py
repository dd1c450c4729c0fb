"""The agenda of a network in memory: what is due in order, one wake-up for a moment, and whoever runs it may end."""

from functools import partial

import outcome
import pytest
import trio

from gossip.memory_agenda import Agenda, Waiting


@pytest.fixture
async def agenda(nursery):
    made = Agenda()
    nursery.start_soon(made.run)
    return made


async def test_what_is_due_is_called_in_order_of_time_and_then_as_it_was_put_in(autojump_clock, agenda):
    called: list[tuple[str, float]] = []
    for moment, name in ((3.0, "c"), (1.0, "a"), (3.0, "d"), (2.0, "b")):
        agenda.at(moment, lambda name=name: called.append((name, trio.current_time())))
    await trio.sleep(4)
    assert called == [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 3.0)]


async def test_a_call_may_put_in_another_one_for_the_same_moment(autojump_clock, agenda):
    called: list[float] = []
    agenda.at(1.0, lambda: agenda.at(1.0, lambda: called.append(trio.current_time())))
    await trio.sleep(2)
    assert called == [1.0]


async def test_what_is_put_in_later_and_due_sooner_is_not_late(autojump_clock, agenda):
    called: list[float] = []
    agenda.at(100.0, lambda: called.append(trio.current_time()))
    await trio.sleep(1)
    agenda.at(2.0, lambda: called.append(trio.current_time()))
    await trio.sleep(200)
    assert called == [2.0, 100.0]


async def test_another_one_goes_on_when_whoever_ran_it_has_ended(autojump_clock):
    agenda, called = Agenda(), list[float]()
    async with trio.open_nursery() as others:
        with trio.CancelScope() as first:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(agenda.run)
                await trio.sleep(1)
                others.start_soon(agenda.run)
                agenda.at(5.0, lambda: called.append(trio.current_time()))
                first.cancel()
        await trio.sleep(10)
        others.cancel_scope.cancel()
    assert called == [5.0]


async def test_a_task_waits_until_a_moment_or_is_cancelled_before(autojump_clock, agenda):
    await agenda.wait_until(7.0)
    assert trio.current_time() == 7.0
    with trio.move_on_after(1) as given_up:
        await agenda.wait_until(50.0)
    assert given_up.cancelled_caught
    await trio.sleep(60)  # and the call that would have woken it does nothing


async def test_what_is_brought_is_returned_and_an_error_is_raised(autojump_clock, agenda):
    waiting = Waiting[str]()
    agenda.at(1.0, partial(waiting.wake, outcome.Value("reply")))
    assert await waiting.wait() == "reply"
    failing = Waiting[str]()
    agenda.at(2.0, partial(failing.wake, outcome.Error(ValueError("gone"))))
    with pytest.raises(ValueError, match="gone"):
        await failing.wait()
