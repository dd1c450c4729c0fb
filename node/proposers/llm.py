"""The proposer that asks a language model, at any endpoint that speaks OpenAI's chat completions.

Owns the connection, one repair round and the count of tokens. The only file that imports openai. What is asked is
prompt.py's, how answers are read is answer.py's, when it is asked and for how long is the caller's. The key is never
shown, and nothing a server says enters an error's sentence: some repeat the key, and all may say anything.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import openai
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.proposers.answer import Answer, AnswerRefused, read_answer
from node.proposers.edits import EditRefused, apply_edits, check_source
from node.proposers.port import Failure, ProposerFailed, Request, build_proposal, is_new
from node.proposers.prompt import Message, build_messages
from swarm.finding import Proposal
from swarm.words import Operator, SwarmError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o-mini"  # cheap, and most compatible servers with a single model ignore the name
NO_KEY = "none"  # local servers ask for no key, the SDK insists on one
SDK_RETRIES = 1  # one hiccup is forgiven; a longer outage is auto.py's affair
MAX_PROPOSER_CHARS = 64  # Proposal.proposer


@dataclass(frozen=True)
class Endpoint:
    """Where a model is asked and under which name."""

    base_url: str = DEFAULT_BASE_URL
    model: str = DEFAULT_MODEL
    key: str = field(default=NO_KEY, repr=False)

    @property
    def host(self) -> str:
        """Host and port for people: without user, password, path or query."""
        parts = urlsplit(self.base_url)
        return f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"


def endpoint_from(model: str | None, env: Mapping[str, str]) -> Endpoint | None:
    """What OPENAI_BASE_URL, OPENAI_API_KEY and OPENAI_MODEL name; None when neither of the first two is set."""
    base_url, key = env.get("OPENAI_BASE_URL", "").strip(), env.get("OPENAI_API_KEY", "").strip()
    if not base_url and not key:
        return None
    base_url = base_url or DEFAULT_BASE_URL
    if not _is_url(base_url):
        raise SwarmError(
            "OPENAI_BASE_URL is not an http or https address such as http://127.0.0.1:11434/v1; correct or unset it"
        )
    if not (key.isascii() and key.isprintable()):
        raise SwarmError("OPENAI_API_KEY holds characters that no key has; set it again or unset it")
    return Endpoint(base_url, model or env.get("OPENAI_MODEL", "").strip() or DEFAULT_MODEL, key or NO_KEY)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text.isascii() and text.isprintable()


class _Said(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str | None = None


class _Choice(BaseModel):
    model_config = ConfigDict(extra="ignore")
    message: _Said


class _Completion(BaseModel):
    """What we read of a chat completion. Read by us, not by the SDK: it hands on whatever shape it was sent."""

    model_config = ConfigDict(extra="ignore")
    choices: list[_Choice] = Field(min_length=1)
    usage: object = None


class LanguageModel:
    """One question a proposal, and one more when the answer can be repaired."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.tokens_used = 0  # prompt and completion, as the server counts them; 0 where it does not
        model = "".join(c if c.isascii() and (c.isalnum() or c in "._:/-") else "-" for c in endpoint.model.lower())
        self.name = f"llm:{model}"[:MAX_PROPOSER_CHARS]

    async def propose(self, request: Request) -> Proposal:
        messages = build_messages(request)
        said = await self._ask(messages)
        try:
            return await self._proposal(request, said)
        except (AnswerRefused, EditRefused) as error:
            problem = str(error)
        repair = f"That answer cannot be used: {problem}. Answer again with one corrected JSON object and nothing else."
        said = await self._ask([*messages, Message("assistant", said[:8_000]), Message("user", repair)])
        try:
            return await self._proposal(request, said)
        except (AnswerRefused, EditRefused) as error:
            raise ProposerFailed(
                Failure.UNUSABLE, f"{self._who} answered twice without a usable proposal: {_brief(error)}"
            ) from None

    async def check(self) -> None:
        """Raises ProposerFailed unless the endpoint answers; costs no tokens. One without a list of models does."""
        try:
            async with self._client(retries=0) as client:
                await client.models.with_raw_response.list()
        except openai.APIStatusError as error:
            if error.status_code in (401, 403, 429) or error.status_code >= 500:
                raise self._refusal(error) from None
        except openai.OpenAIError:
            raise self._unreachable() from None

    @property
    def _who(self) -> str:
        return f"the language model at {self.endpoint.host}"

    async def _proposal(self, request: Request, said: str) -> Proposal:
        answer = read_answer(said, request.brief.space, request.parent_config)
        source = apply_edits(request.parent_source, answer.edits) if answer.edits else None
        config = {**request.parent_config, **answer.changes}
        if not is_new(request, config, source):
            raise AnswerRefused("this was tried already, or changes nothing; propose something else")
        if source is not None:
            await check_source(source)
        return self._built(request, answer, source)

    def _built(self, request: Request, answer: Answer, source: str | None) -> Proposal:
        title = answer.title
        if source is not None and not title.strip():
            title = "change of train.py"
        return build_proposal(
            request,
            proposer=self.name,
            operator=Operator.IMPROVE,
            config={**request.parent_config, **answer.changes},
            source=source,
            title=title,
            rationale=answer.rationale,
        )

    async def _ask(self, messages: list[Message]) -> str:
        """One completion's text. Raises ProposerFailed with the reason, whatever a server sends."""
        asked = cast("list[ChatCompletionMessageParam]", [{"role": m.role, "content": m.content} for m in messages])
        try:
            async with self._client(SDK_RETRIES) as client:
                raw = await client.chat.completions.with_raw_response.create(model=self.endpoint.model, messages=asked)
                body = raw.http_response.content
        except openai.APIStatusError as error:
            raise self._refusal(error) from None
        except openai.OpenAIError:
            raise self._unreachable() from None
        try:
            completion = _Completion.model_validate_json(body)
        except ValidationError:
            raise ProposerFailed(Failure.UNUSABLE, f"{self._who} does not answer with a chat completion") from None
        self.tokens_used += _total_tokens(completion.usage)
        return completion.choices[0].message.content or ""

    def _client(self, retries: int) -> openai.AsyncOpenAI:
        """One a question: they are minutes apart, and an open one would need an owner that closes it."""
        endpoint = self.endpoint
        return openai.AsyncOpenAI(
            api_key=endpoint.key, base_url=endpoint.base_url, max_retries=retries, timeout=None
        )  # a timeout is the caller's cancel scope

    def _unreachable(self) -> ProposerFailed:
        sentence = f"{self._who} cannot be reached; start it, or check OPENAI_BASE_URL (swarm doctor tries it)"
        return ProposerFailed(Failure.UNREACHABLE, sentence)

    def _refusal(self, error: openai.APIStatusError) -> ProposerFailed:
        status = error.status_code
        if status == 429:
            wait = _seconds(error.response.headers.get("retry-after"))
            return ProposerFailed(Failure.RATE_LIMITED, f"{self._who} limits our rate (429)", wait)
        if status >= 500:
            return ProposerFailed(Failure.SERVER_ERROR, f"{self._who} reports an error of its own ({status})")
        if status in (401, 403):
            return ProposerFailed(Failure.REFUSED, f"{self._who} refuses the key ({status}); check OPENAI_API_KEY")
        return ProposerFailed(
            Failure.REFUSED, f"{self._who} refuses the question ({status}); check OPENAI_BASE_URL and --model"
        )


def _total_tokens(usage: object) -> int:
    total = cast("dict[str, object]", usage).get("total_tokens") if isinstance(usage, dict) else None
    return total if isinstance(total, int) and 0 <= total < 10**9 else 0


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() and len(header) < 7 else None


def _brief(error: SwarmError) -> str:
    """The kind of a refusal without what the model wrote, which may be anything."""
    return "its edits of train.py do not hold" if isinstance(error, EditRefused) else "not the JSON object asked for"
