"""Whether the language model answers: found out in the background, said once when it does not, and again when it does.

Owns the pauses after failures and the sentences for people. What is asked of the model, and by whom, is not known here.
A failure is of one of two kinds: the endpoint did not answer the check (a cheap question, the list of its models), or a
question for a proposal went wrong. The first is over when a check succeeds; the second only when a question does, for
an endpoint may list its models to anybody and answer nobody.
"""

from collections.abc import Awaitable, Callable

import trio

from node.proposers.port import Failure, ProposerFailed

Say = Callable[[str], None]  # takes one sentence for people
Note = Callable[[ProposerFailed], None]  # hears of each check that fails
Check = Callable[[], Awaitable[None]]  # raises ProposerFailed when the endpoint does not answer

CHECK_SECONDS = 10.0  # a server that needs longer to list its models will not have an idea in time either; guess
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 600.0


async def answers(check: Check, name: str) -> None:
    """Raise ProposerFailed unless `check` succeeds in time."""
    with trio.move_on_after(CHECK_SECONDS):
        await check()
        return
    raise ProposerFailed(Failure.TIMED_OUT, f"{name} gave no answer within {CHECK_SECONDS:.0f} s")


class Availability:
    """Up until something fails; down until a pause is over and something succeeds."""

    def __init__(self, name: str, say: Say, check: Check | None = None, note: Note = lambda _: None) -> None:
        self._name = name
        self._say = say
        self._check = check
        self._note = note
        self._down = False
        self._found_by_check = False
        self._failures = 0  # in a row
        self._ask_again_at = float("-inf")  # trio.current_time()
        self._changed = trio.Event()

    @property
    def may_ask(self) -> bool:
        """Whether a question is worth its time now."""
        return trio.current_time() >= self._ask_again_at

    async def run(self) -> None:
        """Check now, and again after each pause for as long as only the check has failed."""
        if self._check is None:
            return
        while True:
            await self._check_once(self._check)
            while not (self._down and self._found_by_check):
                await self._changed.wait()
            await trio.sleep_until(self._ask_again_at)

    async def _check_once(self, check: Check) -> None:
        try:
            await answers(check, self._name)
        except ProposerFailed as failure:
            self._note(failure)
            self.failed(failure, by_check=True)
        else:
            if self._found_by_check:
                self.answered()

    def failed(self, failure: ProposerFailed, *, by_check: bool = False) -> None:
        pause = min(FIRST_PAUSE_SECONDS * 2**self._failures, LONGEST_PAUSE_SECONDS)
        pause = min(max(pause, failure.retry_after_seconds or 0.0), LONGEST_PAUSE_SECONDS)
        self._failures = min(self._failures + 1, 16)
        self._ask_again_at = trio.current_time() + pause
        self._found_by_check = by_check
        if not self._down:
            self._down = True
            self._say(f"{failure}; the classic proposer goes on, and the model is asked again from {pause:.0f} s on")
        self._notify()

    def answered(self) -> None:
        if self._down:
            self._say(f"{self._name} answers again")
        self._down = self._found_by_check = False
        self._failures = 0
        self._ask_again_at = float("-inf")
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
