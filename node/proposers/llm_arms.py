"""The two ways to ask a language model for an experiment: a change of settings, or a change of train.py.

Owns one question with its repair round, from a request to a proposal. Each way is an arm of its own in the bandit: a
model that is good at one may be bad at the other.
"""

from dataclasses import dataclass

from node.proposers.answer import Answer, AnswerRefused, read_answer
from node.proposers.credit import LLM_ARMS
from node.proposers.edits import EditRefused, apply_edits, check_source, whole_file
from node.proposers.llm import LanguageModel, Said
from node.proposers.port import Failure, ProposerFailed, Request, build_proposal, is_new, plain_line
from node.proposers.prompt import Form, Message, build_messages, fits_source
from node.proposers.spending import Usage
from swarm.finding import Proposal
from swarm.words import Operator, SwarmError

MAX_REPEATED_CHARS = 8_000  # of a bad answer, when the model is shown it again
MAX_PROPOSER_CHARS = 64  # Proposal.proposer
_AGAIN = {
    Form.CONFIG: "Answer again with one corrected JSON object and nothing else.",
    Form.CODE: "Answer again with all blocks, corrected, and nothing else. Copy SEARCH lines exactly from train.py.",
}


@dataclass(frozen=True)
class Idea:
    """A proposal and what it took."""

    proposal: Proposal
    usage: Usage


class LlmArm:
    """One way to ask. `propose` asks once, and once more when the answer can be repaired."""

    def __init__(self, model: LanguageModel, form: Form) -> None:
        self.model = model
        self.form = form
        self.name = LLM_ARMS[0] if form is Form.CONFIG else LLM_ARMS[1]
        self._last = ""  # what became the last proposal; shown again when that did not run

    def can_be_asked(self, request: Request) -> bool:
        return self.form is Form.CONFIG or (request.code_may_change and fits_source(request))

    async def propose(self, request: Request, direction: str = "") -> Idea:
        """Raises ProposerFailed."""
        messages = build_messages(request, self.form, direction=direction)
        if request.failure is not None and self._last:
            problem = plain_line(request.failure, 1000)
            messages += self._again(self._last, f"That change did not run: {problem}.")
        first = await self.model.ask(messages, self.name)
        try:
            return Idea(await self._proposal(request, first), first.usage)
        except (AnswerRefused, EditRefused) as error:
            problem = str(error)
        messages += self._again(first.text, f"That answer cannot be used: {problem}.")
        second = await self.model.ask(messages, self.name)
        try:
            return Idea(await self._proposal(request, second), first.usage + second.usage)
        except (AnswerRefused, EditRefused) as error:
            sentence = f"{self.model.who} answered twice without a usable proposal: {_brief(error)}"
            raise ProposerFailed(Failure.UNUSABLE, sentence) from None

    def _again(self, said: str, problem: str) -> list[Message]:
        shown = said[:MAX_REPEATED_CHARS]
        return [Message("assistant", shown), Message("user", f"{problem} {_AGAIN[self.form]}")]

    async def _proposal(self, request: Request, said: Said) -> Proposal:
        code = self.form is Form.CODE
        answer = read_answer(said.text, request.brief.space, request.parent_config, code=code)
        source = _source(request, answer)
        if not is_new(request, {**request.parent_config, **answer.changes}, source):
            raise AnswerRefused("this was tried already, or changes nothing; propose something else")
        if source is not None:
            await check_source(source)
        self._last = said.text
        return self._built(request, answer, source)

    def _built(self, request: Request, answer: Answer, source: str | None) -> Proposal:
        """Named for what it is: who is asked for code may answer with settings, and the credit goes there."""
        title = answer.title
        if source is not None and not title.strip():
            title = "change of train.py"
        arm = LLM_ARMS[0] if source is None else LLM_ARMS[1]
        return build_proposal(
            request,
            proposer=f"{arm}/{self.model.plain_name}"[:MAX_PROPOSER_CHARS],
            operator=Operator.IMPROVE,
            config={**request.parent_config, **answer.changes},
            source=source,
            title=title,
            rationale=answer.rationale,
        )


def _source(request: Request, answer: Answer) -> str | None:
    if answer.source is not None:
        return whole_file(request.parent_source, answer.source)
    return apply_edits(request.parent_source, answer.edits) if answer.edits else None


def _brief(error: SwarmError) -> str:
    """The kind of a refusal without what the model wrote, which may be anything."""
    return "its edits of train.py do not hold" if isinstance(error, EditRefused) else "not the answer asked for"
