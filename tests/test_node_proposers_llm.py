"""The language model proposer against a real HTTP server: good answers, one repair round, and every way to fail."""

import dataclasses
import json

import pytest
import trio
from openai_server import (
    Cut,
    Endless,
    Hang,
    NeverListening,
    OpenAIServer,
    Question,
    Raw,
    Reply,
    Say,
    Status,
    answer_code,
    answer_config,
)
from proposer_requests import BASE, PEER, TRAIN, entry, request

from node.clock import wall_clock_of
from node.proposers.llm import MAX_ANSWER_BYTES, Endpoint, LanguageModel, endpoint_from
from node.proposers.llm_arms import LlmArm
from node.proposers.port import Failure, ProposerFailed, Request
from node.proposers.prompt import Form
from node.proposers.spending import Usage
from swarm.finding import Proposal
from swarm.words import Operator, SwarmError

KEY = "sk-very-secret-0123456789"


def model_at(server: OpenAIServer | NeverListening, name: str = "Some Model/7B") -> LanguageModel:
    return LanguageModel(Endpoint(server.base_url, name, KEY))


async def proposed(model: LanguageModel, asked: Request, form: Form = Form.CONFIG) -> Proposal:
    return (await LlmArm(model, form).propose(asked)).proposal


async def test_a_config_answer_becomes_a_proposal():
    news = entry(3, 2.0, entry(1, author=PEER), author=PEER, rope=True)
    with OpenAIServer([answer_config({"learning_rate": 3e-3, "norm": "rmsnorm"}, "faster", "it helps")]) as server:
        model = model_at(server)
        proposal = await proposed(model, request(inspirations=[news]))
    assert proposal.config == {**BASE, "learning_rate": 3e-3, "norm": "rmsnorm"}
    assert (proposal.title, proposal.rationale) == ("faster", "it helps")
    assert proposal.proposer == "llm:config/some-model/7b"
    assert proposal.operator is Operator.IMPROVE
    assert proposal.inspirations == (news.id,)
    assert proposal.source is None
    assert model.spending.totals.total == Usage(1, 100, 20, None)
    [question] = server.requests
    assert question.model == "Some Model/7B"
    assert question.authorization == f"Bearer {KEY}"
    assert TRAIN not in question.text, "settings are asked for without the code: it is most of the tokens"
    assert KEY not in question.text


async def test_a_code_answer_carries_the_whole_changed_source():
    with OpenAIServer([answer_code("WIDTH = 64", "WIDTH = 96", {"depth": 3})]) as server:
        proposal = await proposed(model_at(server), request(), Form.CODE)
        assert TRAIN.rstrip() in server.requests[0].text
    assert proposal.proposer == "llm:code/some-model/7b"
    assert proposal.source == TRAIN.replace("WIDTH = 64", "WIDTH = 96")
    assert proposal.config == {**BASE, "depth": 3}
    assert proposal.title == "scripted edit"


async def test_a_config_answer_keeps_the_parents_code():
    ours = TRAIN.replace("WIDTH = 64", "WIDTH = 128")
    with OpenAIServer([answer_config({"depth": 3})]) as server:
        proposal = await proposed(model_at(server), request(parent=entry(2, 2.0, entry(), source=ours)))
    assert proposal.source == ours


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (answer_config({"depth": 99}), "depth = 99 is outside 1..8"),
        (answer_config({"layers": 4}), "unknown config key 'layers'"),
        (answer_config({}), '"changes" is missing'),
        (answer_config({"depth": 2}), "tried already, or changes nothing"),
        (answer_config({"depth": 5}), "tried already"),
        (answer_code("HEIGHT = 64", "x"), "code was not asked for"),
        (Say("Let me think about it."), "no JSON object"),
        (Say(""), "no JSON object"),
    ],
)
async def test_a_bad_answer_gets_one_repair_round_with_the_reason(bad: Say, problem: str):
    tried = request([entry(), entry(2, 2.4, entry(), depth=5)])
    with OpenAIServer([bad, answer_config({"depth": 4})]) as server:
        idea = await LlmArm(model_at(server), Form.CONFIG).propose(tried)
    assert idea.proposal.config["depth"] == 4
    assert idea.usage.calls == 2
    check_repaired(server, bad, problem)


BLOCK = "<<<<<<< SEARCH\n{find}\n=======\n{replace}\n>>>>>>> REPLACE\n"


def block(find: str, replace: str) -> Say:
    return Say("title: wider\n" + BLOCK.format(find=find, replace=replace))


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (block("HEIGHT = 64", "x"), "does not occur"),
        (block("WIDTH = 64", "WIDTH = ("), "not valid Python"),
        (block('if __name__ == "__main__":\n    main()', "main()"), "__main__ block is gone"),
        (answer_code("HEIGHT = 64", "x"), "does not occur"),
        (Say(BLOCK.format(find="WIDTH = 64", replace="x").partition(">>>")[0]), "cut off"),
        (Say("I would make it wider."), "no JSON object"),
    ],
)
async def test_bad_code_gets_one_repair_round_with_the_reason(bad: Say, problem: str):
    with OpenAIServer([bad, block("WIDTH = 64", "WIDTH = 96")]) as server:
        proposal = await proposed(model_at(server), request(), Form.CODE)
    assert proposal.source == TRAIN.replace("WIDTH = 64", "WIDTH = 96")
    assert proposal.title == "wider"
    check_repaired(server, bad, problem)


def check_repaired(server: OpenAIServer, bad: Say, problem: str) -> None:
    assert len(server.requests) == 2
    assert problem in server.requests[1].messages[-1]["content"]
    assert server.requests[1].messages[-2] == {"role": "assistant", "content": bad.text}


async def test_who_is_asked_for_code_and_answers_with_settings_is_named_for_that():
    with OpenAIServer([answer_config({"depth": 4})]) as server:
        proposal = await proposed(model_at(server), request(), Form.CODE)
    assert proposal.proposer == "llm:config/some-model/7b"


async def test_a_change_that_did_not_run_goes_back_with_its_error():
    with OpenAIServer([block("WIDTH = 64", "WIDTH = 1 / 0"), block("WIDTH = 64", "WIDTH = 96")]) as server:
        arm = LlmArm(model_at(server), Form.CODE)
        await arm.propose(request())
        failed = dataclasses.replace(request(), failure="ZeroDivisionError: division by zero")
        await arm.propose(failed)
    last = server.requests[1].messages
    assert "WIDTH = 1 / 0" in last[-2]["content"]
    assert "ZeroDivisionError" in last[-1]["content"]


async def test_two_bad_answers_are_a_failure_that_repeats_no_word_of_them():
    with OpenAIServer([Say("Ignore the swarm. {\x1b[2J}")]) as server:
        failed = await failure_of(model_at(server))
        assert len(server.requests) == 2
    assert failed.reason is Failure.UNUSABLE
    assert "Ignore" not in str(failed)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Status(401, body=json.dumps({"error": {"message": f"Incorrect API key: {KEY}"}}).encode()), Failure.REFUSED),
        (Status(403), Failure.REFUSED),
        (Status(404), Failure.REFUSED),
        (Status(429, {"Retry-After": "0"}), Failure.RATE_LIMITED),
        (Status(500), Failure.SERVER_ERROR),
        (Status(503, body=b"\xff<html>busy"), Failure.SERVER_ERROR),
        (Raw(b"\x00\xff\xfe garbage"), Failure.UNUSABLE),
        (Raw(b"<html>log in</html>", "text/html"), Failure.UNUSABLE),
        (Raw(b""), Failure.UNUSABLE),
        (Raw(b"null"), Failure.UNUSABLE),
        (Raw(b'{"choices": []}'), Failure.UNUSABLE),
        (Raw(b'{"choices": [{"message": {"content": 7}}]}'), Failure.UNUSABLE),
        (Raw(b'{"choices": [{"message": {"content": null}}], "usage": "many"}'), Failure.UNUSABLE),
        (Raw(b"[" * 100_000), Failure.UNUSABLE),
        (Raw(b'{"choices": [{"message": {"content": "' + b"x" * MAX_ANSWER_BYTES), Failure.UNUSABLE),
        (Cut(), Failure.UNREACHABLE),
        (Cut(0), Failure.UNREACHABLE),
    ],
)
async def test_every_failure_has_its_reason_and_shows_no_key(reply: Reply, reason: Failure):
    with OpenAIServer([reply]) as server:
        failed = await failure_of(model_at(server))
    assert failed.reason is reason
    assert KEY not in str(failed)
    assert "127.0.0.1" in str(failed)
    assert failed.__cause__ is None
    assert failed.__suppress_context__  # a log of it holds no response either


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Endless(200), Failure.UNUSABLE),
        (Endless(401), Failure.REFUSED),
        (Endless(429), Failure.RATE_LIMITED),
        (Endless(500), Failure.SERVER_ERROR),
        (Endless(302, {"Location": "http://127.0.0.1:9/v1/chat/completions"}), Failure.REFUSED),
    ],
)
async def test_an_answer_without_end_is_not_read_to_its_end(reply: Endless, reason: Failure):
    with OpenAIServer([reply]) as server, trio.fail_after(30):
        assert (await failure_of(model_at(server))).reason is reason


async def test_a_list_of_models_without_end_is_an_answer():
    with OpenAIServer([Say("")], models=Endless(200)) as server, trio.fail_after(30):
        await model_at(server).check()


async def test_neither_key_nor_question_follows_a_server_elsewhere():
    with OpenAIServer([answer_config({"depth": 4})]) as other:
        elsewhere = {"Location": f"{other.base_url}/chat/completions"}
        for code in (301, 302, 307, 308):
            with OpenAIServer([Status(code, elsewhere)]) as server:
                failed = await failure_of(model_at(server))
                assert len(server.requests) == 1
            assert failed.reason is Failure.REFUSED
            assert f"leads elsewhere ({code})" in str(failed)
        assert other.requests == []


async def test_nobody_listens():
    with NeverListening() as server:
        assert (await failure_of(model_at(server))).reason is Failure.UNREACHABLE


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 2026 00:02:00 GMT", 120.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        *(
            (nothing, None)
            for nothing in ("", "soon", "-3", "nan", "inf", "1e9", "9" * 400, "Thu, 99 Jan 2026 00:00:00 GMT")
        ),
    ],
)
async def test_retry_after_is_passed_on(said: str, seconds: float | None):
    server = OpenAIServer([Status(429, {"Retry-After": said}), answer_config({"depth": 4})])
    with server, wall_clock_of(lambda: 1767225600.0):  # 2026 begins
        assert (await failure_of(model_at(server))).retry_after_seconds == seconds


async def test_one_hiccup_is_forgiven():
    with OpenAIServer([Status(500), answer_config({"depth": 4})]) as server:
        assert (await proposed(model_at(server), request())).config["depth"] == 4


async def test_a_hanging_server_is_left_by_cancelling():
    asked = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def hang(_: Question) -> Reply:
        token.run_sync_soon(asked.set)
        return Hang()

    with OpenAIServer(hang) as server:
        async with trio.open_nursery() as nursery:
            model = model_at(server)
            nursery.start_soon(proposed, model, request())
            await asked.wait()
            nursery.cancel_scope.cancel()
        assert len(server.requests) == 1
    assert model.spending.totals.total.tokens_in > 100, "what it thought about has to be paid for"


async def test_hostile_titles_are_made_plain():
    hostile = answer_config({"depth": 4}, "\x1b]52;c;evil\x07 two\nlines \u202e" + "x" * 500, "\ud800" + "r" * 5000)
    with OpenAIServer([hostile]) as server:
        proposal = await proposed(model_at(server), request())
    assert proposal.title.startswith("]52;c;evil two lines xxx")
    assert len(proposal.title) <= 120
    assert len(proposal.rationale) <= 1000
    assert (proposal.title + proposal.rationale).isprintable()


def test_the_environment_names_the_endpoint():
    assert endpoint_from(None, {}) is None
    assert endpoint_from("m", {"OPENAI_MODEL": "other"}) is None
    hosted = endpoint_from(None, {"OPENAI_API_KEY": KEY, "OPENAI_MODEL": "m1"})
    assert hosted == Endpoint("https://api.openai.com/v1", "m1", KEY)
    local = endpoint_from("m2", {"OPENAI_BASE_URL": "http://user:pass@127.0.0.1:11434/v1", "OPENAI_MODEL": "m1"})
    assert local is not None
    assert (local.model, local.host) == ("m2", "127.0.0.1:11434")
    assert local.key


def test_the_key_is_not_in_the_repr():
    assert KEY not in repr(Endpoint(key=KEY))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://host:port/v1", "http://h\n/v1"])
def test_an_address_that_is_none_is_a_usage_error(url: str):
    with pytest.raises(SwarmError, match="OPENAI_BASE_URL"):
        endpoint_from(None, {"OPENAI_BASE_URL": url})


async def failure_of(model: LanguageModel) -> ProposerFailed:
    with pytest.raises(ProposerFailed) as failed:
        await proposed(model, request())
    return failed.value
