"""A language model at an endpoint that speaks OpenAI's chat completions: messages in, text and what it took out.

Owns the connection and how its failures are named. The only file that imports openai. What is asked is prompt.py's, how
answers are read is answer.py's, what it costs is spending.py's, when it is asked and for how long is the caller's. The
key is never shown, and nothing a server says enters an error's sentence: some repeat the key, and all may say anything.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, cast
from urllib.parse import urlsplit

import openai
import trio
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from node.clock import wall_clock
from node.proposers.port import Failure, ProposerFailed
from node.proposers.prompt import Message
from node.proposers.spending import Spending, Usage
from node.proposers.tokens import count_tokens
from swarm.words import SwarmError

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletionMessageParam

DEFAULT_BASE_URL = "https://api.openai.com/v1"
DEFAULT_MODEL = "gpt-4o-mini"  # cheap, and most compatible servers with a single model ignore the name
NO_KEY = "none"  # local servers ask for no key, the SDK insists on one
RETRY_SECONDS = 0.5  # guess
MAX_NAME_CHARS = 50  # Proposal.proposer has 64, with the arm before it
# What breaks while an answer is read is an error of the HTTP library that openai was made with, httpx or its successor.
_HTTP = openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0]
HTTPError = cast("type[Exception]", sys.modules[_HTTP].HTTPError)
MAX_ANSWER_BYTES = 2 << 20  # of a whole completion; an answer worth reading is smaller than 256 KB


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


class _Head(Protocol):
    """Of a response, before its body is read."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


class _Refused(ProposerFailed):
    """A status that is no success. Who has no list of models may answer questions all the same."""

    def __init__(self, reason: Failure, sentence: str, wait: float | None = None, *, of_any: bool = True) -> None:
        super().__init__(reason, sentence, wait)
        self.of_any = of_any  # it would refuse any question, not only this one


@dataclass(frozen=True)
class Said:
    """An answer."""

    text: str
    usage: Usage


class LanguageModel:
    """Asks one question at a time. Every question is charged, also one whose answer nobody waited for."""

    def __init__(self, endpoint: Endpoint, spending: Spending | None = None) -> None:
        self.endpoint = endpoint
        self.spending = spending or Spending()
        model = "".join(c if c.isascii() and (c.isalnum() or c in "._:/-") else "-" for c in endpoint.model.lower())
        self.plain_name = model[:MAX_NAME_CHARS] or "-"
        self.name = f"llm:{self.plain_name}"

    async def check(self) -> None:
        """Raises ProposerFailed unless the endpoint answers; costs no tokens. One without a list of models does."""
        try:
            async with self._client() as client, client.models.with_streaming_response.list():
                pass  # that it answers is all: what it lists may have no end
        except (openai.OpenAIError, HTTPError, ProposerFailed) as error:
            failure = self._failure(error)
            if isinstance(failure, _Refused) and not failure.of_any:
                return
            raise failure from None

    async def ask(self, messages: Sequence[Message], by: str) -> Said:
        """One completion. Raises ProposerFailed with the reason, whatever a server sends. `by`: who asks."""
        async with self.spending.turn:
            if (reached := self.spending.reached()) is not None:
                raise ProposerFailed(Failure.CAPPED, reached)
            return await self._charged(messages, by)

    async def _charged(self, messages: Sequence[Message], by: str) -> Said:
        asked = sum(count_tokens(message.content) for message in messages)
        try:
            completion = self._completion(await self._answer(messages))
        except (trio.Cancelled, ProposerFailed) as error:
            worked = isinstance(error, trio.Cancelled) or error.reason is Failure.UNUSABLE
            if worked:  # it may have thought for a minute, and will want to be paid for it
                self.spending.charge(self.endpoint.model, by, asked, 0)
            raise
        text = completion.choices[0].message.content or ""
        counted = _counted(completion.usage) or (asked, count_tokens(text))
        return Said(text, self.spending.charge(self.endpoint.model, by, *counted))

    @property
    def who(self) -> str:
        return f"the language model at {self.endpoint.host}"

    async def _answer(self, messages: Sequence[Message]) -> bytes:
        """One hiccup is forgiven; a longer outage, and a limited rate, are availability.py's affair."""
        try:
            return await self._answer_once(messages)
        except ProposerFailed as failure:
            if failure.reason not in (Failure.UNREACHABLE, Failure.SERVER_ERROR):
                raise
        await trio.sleep(RETRY_SECONDS)
        return await self._answer_once(messages)

    async def _answer_once(self, messages: Sequence[Message]) -> bytes:
        asked = cast("list[ChatCompletionMessageParam]", [{"role": m.role, "content": m.content} for m in messages])
        body = bytearray()
        try:
            async with (
                self._client() as client,
                client.chat.completions.with_streaming_response.create(
                    model=self.endpoint.model, messages=asked
                ) as response,
            ):
                async for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > MAX_ANSWER_BYTES:
                        raise ProposerFailed(
                            Failure.UNUSABLE, f"{self.who} answers with more than {MAX_ANSWER_BYTES} bytes"
                        ) from None
        except (openai.OpenAIError, HTTPError, ProposerFailed) as error:
            raise self._failure(error) from None
        return bytes(body)

    def _completion(self, body: bytes) -> _Completion:
        try:
            return _Completion.model_validate_json(body)
        except ValidationError:
            raise ProposerFailed(Failure.UNUSABLE, f"{self.who} does not answer with a chat completion") from None

    def _client(self) -> openai.AsyncOpenAI:
        """One a question: they are minutes apart, and an open one would need an owner that closes it."""
        endpoint, hooks = self.endpoint, {"response": [self._look_at]}
        http = openai.DefaultAsyncHttpxClient(event_hooks=hooks, follow_redirects=False)
        return openai.AsyncOpenAI(
            api_key=endpoint.key, base_url=endpoint.base_url, max_retries=0, timeout=None, http_client=http
        )  # a timeout is the caller's cancel scope

    async def _look_at(self, response: _Head) -> None:
        """Before the body of a refusal is read: it is of no use, and may have no end."""
        if response.status_code >= 300:
            raise self._refusal(response.status_code, response.headers.get("retry-after"))

    def _failure(self, error: Exception) -> ProposerFailed:
        """What became of a question. Some versions of the SDK take what a hook raises for a broken connection."""
        found = (one for one in (error, error.__cause__) if isinstance(one, ProposerFailed))
        return next(found, self.unreachable())

    def unreachable(self) -> ProposerFailed:
        sentence = f"{self.who} cannot be reached; start it, or check OPENAI_BASE_URL (swarm doctor tries it)"
        return ProposerFailed(Failure.UNREACHABLE, sentence)

    def _refusal(self, status: int, retry_after: str | None) -> "_Refused":
        if status == 429:
            return _Refused(Failure.RATE_LIMITED, f"{self.who} limits our rate (429)", _seconds(retry_after))
        if status >= 500:
            return _Refused(Failure.SERVER_ERROR, f"{self.who} reports an error of its own ({status})")
        if status in (401, 403):
            return _Refused(Failure.REFUSED, f"{self.who} refuses the key ({status}); check OPENAI_API_KEY")
        if status < 400:  # not followed: key and question go where the person said, and nowhere else
            return _Refused(Failure.REFUSED, f"{self.who} leads elsewhere ({status}); set OPENAI_BASE_URL to there")
        return _Refused(
            Failure.REFUSED,
            f"{self.who} refuses the question ({status}); check OPENAI_BASE_URL and --model",
            of_any=False,
        )


def _counted(usage: object) -> tuple[int, int] | None:
    """Prompt and completion, as the server counts them; None where it does not."""
    table = cast("dict[str, object]", usage) if isinstance(usage, dict) else {}
    counts = [table.get(name) for name in ("prompt_tokens", "completion_tokens")]
    if not all(isinstance(n, int) and 0 <= n < 10**9 for n in counts):
        return None
    tokens_in, tokens_out = cast("list[int]", counts)
    return (tokens_in, tokens_out) if tokens_in else None


def _seconds(retry_after: str | None) -> float | None:
    """A number of seconds, or a date."""
    said = (retry_after or "").strip()[:40]
    if re.fullmatch(r"\d{1,6}(\.\d+)?", said, re.ASCII):
        return float(said)
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - wall_clock())
    except (ValueError, OverflowError):
        return None
