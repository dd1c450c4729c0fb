"""The director: a second model, a dearer one perhaps, that looks at the progress now and then and says where to go.

Owns when it is asked (every so many own runs), the direction it wrote, and the page of the branch that keeps it,
DIRECTION.md. It never has an idea itself and never delays one: it is asked in the background. Like the other model it
is told of peers in typed values only. What it writes enters the prompts quoted, line by line.
"""

import re
from collections.abc import Callable

import trio

from node.proposers.answer import without_thoughts
from node.proposers.llm import LanguageModel, Said
from node.proposers.port import Failure, ProposerFailed, Request
from node.proposers.prompt import build_review
from node.proposers.spending import Usage
from node.text import clean

EVERY_RUNS = 20
MAX_DIRECTION_CHARS = 2_400  # some 600 tokens of every prompt
REVIEW_SECONDS = 180.0  # nobody waits for it
BY = "director"
_PAGE = re.compile(r"\A# Direction\n\n<!-- after (\d{1,9}) runs -->\n\n(.*)\Z", re.DOTALL)

Asked = Callable[[str, Usage | ProposerFailed], None]  # by whom, and what came of it


class Director:
    """Keeps the direction. `consider` is told of each request; `run` asks when it is time."""

    def __init__(self, model: LanguageModel, asked: Asked, every: int = EVERY_RUNS) -> None:
        self.model = model
        self.direction = ""
        self._asked = asked
        self._every = every
        self._reviewed_at = 0  # own runs
        self._due: Request | None = None
        self._wake = trio.Event()

    def consider(self, request: Request) -> None:
        runs = own_runs(request)
        self._reviewed_at = min(self._reviewed_at, runs)  # the page was written on another track
        if runs // self._every > self._reviewed_at // self._every:
            self._due = request
            self._wake.set()

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if (request := self._due) is not None:
                self._due = None
                await self._review(request)

    async def _review(self, request: Request) -> None:
        """A failed one waits for the next time: a direction that is old is no trouble."""
        self._reviewed_at = own_runs(request)
        try:
            said = await self._ask(request)
        except ProposerFailed as failure:
            self._asked(BY, failure)
            return
        self._asked(BY, said.usage)
        self.direction = plain_direction(said.text) or self.direction

    async def _ask(self, request: Request) -> Said:
        with trio.move_on_after(REVIEW_SECONDS):
            return await self.model.ask(build_review(request, self.direction), BY)
        raise ProposerFailed(Failure.TIMED_OUT, f"{self.model.name} gave no direction within {REVIEW_SECONDS:.0f} s")

    # The page

    @property
    def page(self) -> str:
        """DIRECTION.md, or nothing yet."""
        return f"# Direction\n\n<!-- after {self._reviewed_at} runs -->\n\n{self.direction}\n" if self.direction else ""

    def load(self, page: str) -> None:
        """Go on with what an earlier start wrote. A page that is none is passed over."""
        if (found := _PAGE.match(page)) is not None:
            self._reviewed_at, self.direction = int(found[1]), plain_direction(found[2])


def own_runs(request: Request) -> int:
    return sum(entry.author == request.me for entry in request.on_track)


def plain_direction(text: str) -> str:
    said = clean(without_thoughts(text), MAX_DIRECTION_CHARS, lines=True).strip()
    return re.sub(r"\n{3,}", "\n\n", said)
