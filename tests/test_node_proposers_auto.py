"""Auto falls back whatever the model does, says so once, asks again after growing pauses, and says when it is back."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from openai_server import Hang, NeverListening, OpenAIServer, Status, answer_config
from proposer_requests import entry, request

from node.proposers import KINDS, Auto, Classic, make_proposer
from node.proposers.availability import answers
from node.proposers.classic import propose_now, turn_of_llm
from node.proposers.llm import Endpoint, LanguageModel
from node.proposers.llm_arms import Idea, LlmArm
from node.proposers.port import Failure, Proposer, ProposerFailed, Request, build_proposal
from node.proposers.prompt import Form
from node.proposers.spending import Usage
from swarm.finding import Proposal, Track
from swarm.words import Operator, SwarmError


@dataclass
class Scripted:
    """An arm whose next answers are known: a failure, or a change of depth."""

    failures: list[ProposerFailed | None]
    name: str = "llm:scripted"
    asked_at: list[float] = field(default_factory=list)

    async def propose(self, request: Request, direction: str = "") -> Idea:
        self.asked_at.append(trio.current_time())
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        config = {**request.parent_config, "depth": 7}
        proposal = build_proposal(request, proposer=self.name, operator=Operator.IMPROVE, config=config)
        return Idea(proposal, Usage(1, 10, 10, None))

    def can_be_asked(self, request: Request) -> bool:
        return True


class Thinking:
    name = "llm:thinking"

    async def propose(self, request: Request, direction: str = "") -> Idea:
        await trio.sleep_forever()
        raise AssertionError("woke up")

    def can_be_asked(self, request: Request) -> bool:
        return True


class Quick:
    """What stands in when the model is not asked."""

    name = "quick"

    async def propose(self, request: Request) -> Proposal:
        config = {**request.parent_config, "depth": 6}
        return build_proposal(request, proposer=self.name, operator=Operator.TUNE, config=config)


def auto_of(llm: Scripted | Thinking, said: list[str], **more: Any) -> Auto:
    return Auto(llm.name, [llm], Quick(), said.append, turn=lambda _, ways: ways[0], **more)


def auto_at(server: OpenAIServer | NeverListening, said: list[str], **more: Any) -> Auto:
    model = LanguageModel(Endpoint(server.base_url))
    return Auto(model.name, [LlmArm(model, form) for form in Form], Classic(), said.append, **more)


def failed(reason: Failure = Failure.UNREACHABLE, retry_after: float | None = None) -> ProposerFailed:
    return ProposerFailed(reason, "the model is away", retry_after)


@pytest.mark.parametrize(
    "script", ["401", "500", "garbage", "babble", "cut", [Status(429, {"Retry-After": "0"})], "tune-out-of-range"]
)
async def test_whatever_the_server_does_a_proposal_comes_and_it_is_said_once(script: object):
    if script == "tune-out-of-range":
        script = [answer_config({"learning_rate": 1e9})]
    said: list[str] = []
    with OpenAIServer(script) as server:  # type: ignore[arg-type]
        proposer = auto_at(server, said)
        proposals = [await proposer.propose(request(number=number)) for number in (2, 3, 4)]
        asked = len(server.requests)
    assert all(p.proposer.startswith("classic/") for p in proposals)
    assert len(said) == 1
    assert "classic proposer goes on" in said[0]
    assert asked <= 2  # one question with its retry or repair round, then a pause


async def test_a_hanging_server_costs_no_more_than_the_time_allowed():
    said: list[str] = []
    with OpenAIServer([Hang()]) as server:
        proposer = auto_at(server, said, answer_seconds=0.3)
        assert (await proposer.propose(request())).proposer.startswith("classic/")
    assert len(said) == 1
    assert "no answer within" in said[0]


async def test_nobody_listening_is_said_once_and_the_fallback_is_what_classic_proposes():
    said: list[str] = []
    with NeverListening() as server:
        proposer = make_proposer("llm", "m", {"OPENAI_BASE_URL": server.base_url}, said.append)
        assert proposer.name == "llm:m"
        assert [await proposer.propose(request()) for _ in range(2)] == [propose_now(request())] * 2
    assert len(said) == 1
    assert "cannot be reached" in said[0]


async def test_down_and_back_are_said_once_each_and_pauses_grow(mock_clock: trio.testing.MockClock):
    said: list[str] = []
    llm = Scripted([failed() for _ in range(7)])
    asked = await asked_at(mock_clock, llm, said, seconds=2132)
    assert asked == [0, 30, 90, 210, 450, 930, 1530, 2130, 2131]  # doubled up to ten minutes, then it is back
    assert len(said) == 2
    assert "away" in said[0]
    assert said[1] == "llm:scripted answers again"


async def test_a_second_outage_is_said_again_and_starts_with_a_short_pause(mock_clock: trio.testing.MockClock):
    said: list[str] = []
    asked = await asked_at(mock_clock, Scripted([failed(), None, failed(), None]), said, seconds=63)
    assert asked == [0, 30, 31, 61, 62]
    assert len(said) == 4


async def test_retry_after_is_respected_up_to_the_longest_pause(mock_clock: trio.testing.MockClock):
    llm = Scripted([failed(Failure.RATE_LIMITED, 120.0), failed(Failure.RATE_LIMITED, 1e9)])
    assert await asked_at(mock_clock, llm, [], seconds=721) == [0, 120, 720]


async def asked_at(clock: trio.testing.MockClock, llm: Scripted, said: list[str], seconds: int) -> list[int]:
    """Asks Auto once a virtual second; the seconds at which it asked the model."""
    proposer = auto_of(llm, said)
    start, asked = trio.current_time(), request()
    for _ in range(seconds):
        before = len(llm.asked_at)
        proposal = await proposer.propose(asked)
        assert proposal.proposer == (llm.name if len(llm.asked_at) > before and not said_down(said) else "quick")
        clock.jump(1)
    return [round(at - start) for at in llm.asked_at]


def said_down(said: list[str]) -> bool:
    return len(said) % 2 == 1


async def test_the_endpoint_is_checked_at_once_before_any_question(mock_clock: trio.testing.MockClock):
    said: list[str] = []
    with NeverListening() as server:
        model = LanguageModel(Endpoint(server.base_url))
        proposer = auto_of(Scripted([]), said, check=model.check)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proposer.run)
            while not said:
                await trio.lowlevel.checkpoint()
            assert (await proposer.propose(request())).proposer == "quick"
            nursery.cancel_scope.cancel()
    assert len(said) == 1
    assert "cannot be reached" in said[0]
    assert "OPENAI_BASE_URL" in said[0]


async def test_an_endpoint_that_comes_up_later_is_noticed_without_a_question(autojump_clock: trio.testing.MockClock):
    said: list[str] = []
    checks = [failed(), failed(), failed()]

    async def check() -> None:
        await trio.lowlevel.checkpoint()
        if checks:
            raise checks.pop()

    proposer = auto_of(Scripted([]), said, check=check)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proposer.run)
        await trio.sleep(200)  # checked at 0, 30, 90 and 210 seconds
        assert len(said) == 1
        assert (await proposer.propose(request())).proposer == "quick"
        await trio.sleep(20)
        assert said[1:] == ["llm:scripted answers again"]
        assert (await proposer.propose(request())).proposer == "llm:scripted"
        nursery.cancel_scope.cancel()


async def test_a_list_of_models_does_not_make_a_model_that_fails_answer_again(autojump_clock: trio.testing.MockClock):
    said: list[str] = []
    proposer = auto_of(Scripted([failed(), failed()]), said, check=trio.lowlevel.checkpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(proposer.run)
        assert (await proposer.propose(request())).proposer == "quick"
        await trio.sleep(10_000)
        assert len(said) == 1
        nursery.cancel_scope.cancel()


async def test_a_check_that_hangs_is_given_up(autojump_clock: trio.testing.MockClock):
    with pytest.raises(ProposerFailed, match="no answer within 10 s"):
        await answers(trio.sleep_forever, "llm:slow")


async def test_a_model_may_not_think_longer_than_a_trial_takes(autojump_clock: trio.testing.MockClock):
    """The track's budget is 10 s, so the model has 8 of them, whatever it is allowed otherwise."""
    said: list[str] = []
    before = trio.current_time()
    proposal = await auto_of(Thinking(), said).propose(request())
    assert trio.current_time() - before == 8.0
    assert proposal.proposer == "quick"
    assert "within 8 s" in said[0]


async def test_a_good_model_is_used_and_nothing_is_said():
    said: list[str] = []
    with OpenAIServer([answer_config({"depth": 4})]) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "tiny"}
        proposal = await make_proposer("llm", None, env, said.append).propose(request())
    assert proposal.proposer == "llm:config/tiny"
    assert said == []


WAYS = ("llm:config", "llm:code")


async def test_in_auto_the_models_two_ways_are_arms_of_the_portfolio():
    arms = [Scripted([], name=way) for way in WAYS]
    proposer = Auto("llm:m", arms, Quick(), print, turn=turn_of_llm)
    had = [(await proposer.propose(request(number=number))).proposer for number in range(2, 302)]
    assert had.count("llm:config") >= 9
    assert had.count("llm:code") >= 5
    assert had.count("quick") >= 120


async def test_without_the_portfolio_the_bandit_chooses_between_the_two_ways():
    proposer = Auto("llm:m", [Scripted([], name=way) for way in WAYS], Quick(), print)
    had = [(await proposer.propose(request(number=number))).proposer for number in range(2, 52)]
    assert set(had) == set(WAYS)


@pytest.mark.parametrize("way", WAYS)
async def test_a_way_that_earned_more_is_asked_more_often(way: str):
    base = entry()
    wins = [entry(n, 2.3 - n / 20, base, proposer=f"{way}/scripted", depth=n) for n in range(3, 9)]
    asked = [turn_of_llm(request([base, *wins], number=number), WAYS) for number in range(10, 110)]
    before = [turn_of_llm(request([base], number=number), WAYS) for number in range(10, 110)]
    assert asked.count(way) > before.count(way) + 15


@pytest.mark.parametrize("way", ["llm:code", "command"])
def test_a_gpu_asks_for_code_more_often_than_a_cpu(way: str):
    asked: list[int] = []
    for hardware in ("cuda-h100", "cpu-x86_64-2"):
        track = Track(hardware_class=hardware, budget_seconds=10.0)
        turns = [turn_of_llm(request([entry(track=track)], track=track, number=n), (way,)) for n in range(2, 402)]
        asked.append(turns.count(way))
    on_gpu, on_cpu = asked
    assert on_gpu > 1.5 * on_cpu
    assert on_cpu > 4, "a preference, not a ban"


@pytest.mark.parametrize("hardware", ["cuda-h100", "cpu-x86_64-2"])
def test_what_code_has_earned_outweighs_what_was_believed_of_it(hardware: str):
    track = Track(hardware_class=hardware, budget_seconds=10.0)
    base = entry(track=track)
    lost = [entry(n, 2.5, base, track=track, proposer="llm:code/m", depth=3) for n in range(2, 42)]
    won = [entry(n, 2.3 - n / 20, base, track=track, proposer="llm:code/m", depth=3) for n in range(2, 22)]
    few, many = (
        [turn_of_llm(request([base, *made], track=track, number=n), ("llm:code",)) for n in range(50, 150)].count(
            "llm:code"
        )
        for made in (lost, won)
    )
    assert few < 15 < 50 < many


async def test_code_is_not_asked_for_where_nothing_holds_it():
    with OpenAIServer("tune") as server:
        proposer = auto_at(server, [])
        asked = [dataclasses.replace(request(number=n), code_may_change=False) for n in range(2, 22)]
        had = {(await proposer.propose(one)).proposer for one in asked}
        assert not any("<<<<<<< SEARCH" in question.text for question in server.requests)
    assert had == {"llm:config/gpt-4o-mini"}


async def test_every_question_is_counted_by_its_reason():
    told: list[tuple[str, str]] = []
    llm = Scripted([failed(Failure.RATE_LIMITED)], name="llm:config")
    proposer = auto_of(llm, [], told=lambda by, outcome, _: told.append((by, outcome)))
    await proposer.propose(request())
    proposer = auto_of(Scripted([], name="llm:code"), [], told=lambda by, outcome, _: told.append((by, outcome)))
    await proposer.propose(request())
    assert told == [("llm:config", "rate_limited"), ("llm:code", "answered")]


def test_kinds_without_configuration():
    assert make_proposer("auto", "some-model", {}, print).name == "classic"
    assert make_proposer("classic", None, {"OPENAI_API_KEY": "k"}, print).name == "classic"
    for arm in KINDS[3:-1]:
        assert make_proposer(arm, None, {}, print).name == f"classic/{arm}"  # type: ignore[arg-type]
    with pytest.raises(SwarmError, match="set OPENAI_API_KEY, or OPENAI_BASE_URL"):
        make_proposer("llm", "some-model", {}, print)


@pytest.mark.parametrize("model", ["gpt-4o-mini", "Qwen/Qwen3 30B:free", "ünï", "x" * 200, "-"])
def test_every_name_is_one_a_proposal_may_carry(model: str):
    proposer: Proposer = make_proposer("auto", model, {"OPENAI_API_KEY": "k"}, print)
    config = {**request().parent_config, "depth": 7}
    built = build_proposal(request(), proposer=proposer.name, operator=Operator.IMPROVE, config=config)
    assert built.proposer.startswith("llm:")


async def test_the_server_as_a_program_says_its_port_and_serves():
    """End-to-end tests start it this way, beside a node that is a process of its own."""
    program = [sys.executable, str(Path(__file__).with_name("openai_server.py")), "--port", "0", "--script", "tune"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            env = {"OPENAI_BASE_URL": f"http://127.0.0.1:{int(server.stdout.readline())}/v1"}
            proposal = await make_proposer("llm", "m", env, print).propose(request())
        finally:
            server.terminate()
    assert proposal.proposer == "llm:config/m"
    assert proposal.title == "another learning rate"
