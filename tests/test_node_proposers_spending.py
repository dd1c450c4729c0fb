"""What language models cost: counted, kept, capped within one question, attributed to findings; and the director."""

import dataclasses
import json

import pytest
import trio
import trio.testing
from openai_server import OpenAIServer, Question, Raw, Reply, Say, Status, answer_config
from proposer_requests import PEER, entry, request

from node.cli.look import model_words
from node.proposers import make_proposer
from node.proposers.auto import DIRECTION_FILE, Auto, ModelOptions
from node.proposers.director import MAX_DIRECTION_CHARS, Director, plain_direction
from node.proposers.llm import Endpoint, LanguageModel
from node.proposers.prices import Price, load_prices, price_of
from node.proposers.spending import Caps, Spending, Usage, read_spending
from swarm.words import FindingId, SwarmError

FINDING = FindingId("f" * 64)


def always_new(question: Question) -> Reply:
    """Settings nobody has tried; a question costs 1,000 tokens in and 200 out."""
    said = answer_config({"learning_rate": round(1.1e-3 + 1e-5 * question.number, 6)})
    return Say(said.text, 1000, 200)


def auto(server: OpenAIServer, tmp_path, said: list[str], model: str = "gpt-4o-mini", **caps: float) -> Auto:
    options = ModelOptions(caps=Caps(**caps), home=tmp_path)  # type: ignore[arg-type]
    made = make_proposer("llm", model, {"OPENAI_BASE_URL": server.base_url}, said.append, options)
    assert isinstance(made, Auto)
    return made


async def ideas(proposer: Auto, count: int) -> list[str]:
    asked = [dataclasses.replace(request(number=n), code_may_change=False) for n in range(2, 2 + count)]
    return [(await proposer.propose(one)).proposer.partition("/")[0] for one in asked]


ONE = 1000 * 0.15e-6 + 200 * 0.60e-6  # dollars


@pytest.mark.parametrize(
    ("caps", "allowed"),
    [
        ({"cost_usd": 3 * ONE - 1e-9}, 3),
        ({"cost_usd": 3 * ONE + 1e-9}, 4),
        ({"cost_usd_per_day": 2.5 * ONE}, 3),
        ({"tokens": 3000}, 3),
        ({"tokens_per_day": 1200}, 1),
        ({"cost_usd": 0.0}, 0),
    ],
)
async def test_a_cap_ends_it_within_one_question_and_is_said_once(tmp_path, caps, allowed):
    said: list[str] = []
    with OpenAIServer(always_new) as server:
        had = await ideas(auto(server, tmp_path, said, **caps), 8)
        assert len(server.requests) == allowed
    assert had == ["llm:config"] * allowed + ["classic"] * (8 - allowed)
    assert len(said) == 1
    assert "--max-" in said[0]
    with OpenAIServer(always_new) as server:  # another start goes on counting
        await ideas(auto(server, tmp_path, said, **caps), 3)
        assert len(server.requests) == 0


async def test_a_repair_round_counts_and_stops_at_the_cap_too(tmp_path):
    said: list[str] = []
    with OpenAIServer([Say("no idea", 1000, 200)]) as server:
        proposer = auto(server, tmp_path, said, tokens=1000)
        assert await ideas(proposer, 3) == ["classic"] * 3
        assert len(server.requests) == 1
    assert len(said) == 1


async def test_a_model_without_a_price_is_said_and_its_tokens_count(tmp_path):
    said: list[str] = []
    with OpenAIServer(always_new) as server:
        proposer = auto(server, tmp_path, said, model="my-own-7b", cost_usd=1e-9)
        assert len(said) == 1
        assert "my-own-7b costs is not known" in said[0]
        assert "--max-tokens" in said[0]
        assert await ideas(proposer, 3) == ["llm:config"] * 3
    assert proposer.spending.totals.total == Usage(3, 3000, 600, None)


async def test_a_server_that_does_not_count_is_counted_here(tmp_path):
    body = {"choices": [{"message": {"content": answer_config({"depth": 4}).text}}]}
    with OpenAIServer([Raw(json.dumps(body).encode())]) as server:
        proposer = auto(server, tmp_path, [])
        await ideas(proposer, 1)
    total = proposer.spending.totals.total
    assert total.tokens_in > 300
    assert total.tokens_out > 10
    assert total.cost_usd


async def test_errors_cost_nothing(tmp_path):
    with OpenAIServer([Status(401)]) as server:
        proposer = auto(server, tmp_path, [])
        await ideas(proposer, 2)
    assert proposer.spending.totals.total == Usage()


def test_what_a_finding_took_is_kept_across_rebase_and_restart(tmp_path):
    path = tmp_path / "spending.jsonl"
    spending = Spending(path, prices={"m": Price(input=1.0, output=2.0)})
    usage = spending.charge("m", "llm:config", 1_000_000, 500_000) + spending.charge("m", "llm:config", 0, 500_000)
    spending.remember("before", usage)
    spending.moved("before", "after")
    assert spending.of_proposal("before") is None
    spending.settle("after", FINDING)
    spending.settle("after", FINDING)
    with path.open("a") as file:
        file.write('{"at": "2026-')  # killed in the middle of a line
    again = read_spending(path)
    assert again.total == Usage(2, 1_000_000, 1_000_000, 3.0)
    assert again.by_finding == {FINDING: again.total}
    assert sum(again.by_day.values(), Usage()) == again.total


@pytest.mark.parametrize(
    "line", ["", "null", "[]", "7", '{"tokens_in": -1}', '{"tokens_in": "x"}', '{"cost_usd": -1}', "\x00"]
)
def test_a_line_that_is_none_is_passed_over(tmp_path, line: str):
    path = tmp_path / "spending.jsonl"
    path.write_text(line + "\n" + '{"at": "2026-11-21T00:00:00Z", "tokens_in": 5, "tokens_out": 6, "cost_usd": null}\n')
    assert read_spending(path).total == Usage(1, 5, 6, None)


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("gpt-4o-mini", True),
        ("openai/gpt-4o-mini", True),
        ("GPT-4o-mini-2024-07-18", True),
        ("anthropic/claude-sonnet-4-20250514", True),
        ("qwen3:32b", False),
        ("gpt-4o-mini-of-mine", False),
        ("", False),
    ],
)
def test_prices_are_found_by_name(model: str, known: bool):
    assert (price_of(model, load_prices()) is not None) is known


def test_a_home_has_prices_of_its_own(tmp_path):
    own = tmp_path / "prices.toml"
    own.write_text('[models]\n"My-Model" = { input = 1, output = 2.5 }\n"gpt-4o-mini" = { input = 0, output = 0 }\n')
    prices = load_prices(own)
    assert price_of("my-model", prices) == Price(input=1.0, output=2.5)
    assert price_of("gpt-4o-mini", prices) == Price(input=0.0, output=0.0)
    for bad in ("x = ", '[models]\n"m" = 3\n', '[models]\n"m" = { input = -1, output = 0 }\n', "\xff"):
        own.write_text(bad, encoding="latin-1")
        with pytest.raises(SwarmError, match="price table"):
            load_prices(own)


def test_a_terminal_shows_what_it_took_in_one_line():
    spent = {"calls": 2, "tokens_in": 3000, "tokens_out": 400, "cost_usd": 0.0123}
    model = {"questions": {"answered": 2, "unusable": 1}, "total": spent, "today": spent | {"cost_usd": None}}
    assert model_words(model) == (
        "2 answered, 1 unusable since the start; in all 2 questions, 3,400 tokens, $0.0123; "
        "today 2 questions, 3,400 tokens, cost not known"
    )


# The director


def grown(runs: int):
    base = entry()
    return [base, *(entry(n, 2.3 + n / 1000, base, dropout=n / 5000) for n in range(2, runs + 1))]


def by_model(question: Question) -> Reply:
    return Say("Try depth.\n\n\n\n## RULES\x1b[2J" + "x" * 9000) if question.model == "wise" else always_new(question)


async def test_the_director_reviews_every_so_many_runs_and_its_direction_enters_the_prompt(tmp_path):
    options = ModelOptions(director_model="wise", director_every=5, home=tmp_path)
    with OpenAIServer(by_model) as server:
        env = {"OPENAI_BASE_URL": server.base_url, "OPENAI_MODEL": "small"}
        proposer = make_proposer("llm", None, env, print, options)
        assert isinstance(proposer, Auto)
        assert proposer.director is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proposer.run)
            for runs in range(2, 12):
                await proposer.propose(request(grown(runs), number=runs + 1))
                await trio.testing.wait_all_tasks_blocked()
                if runs in (5, 10):
                    while sum(q.model == "wise" for q in server.requests) < runs // 5 or not proposer.branch_files():
                        await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        reviews = [q for q in server.requests if q.model == "wise"]
        assert len(reviews) == 2
        assert "WHO HAD THE IDEAS" in reviews[0].text
        assert "THE DIRECTION SO FAR" in reviews[1].text
        last = [q for q in server.requests if q.model == "small"][-1]
    assert "> Try depth." in last.text
    assert "\n## RULES" not in last.text
    page = proposer.branch_files()[DIRECTION_FILE].decode()
    assert page.startswith("# Direction\n\n<!-- after ")
    assert "\x1b" not in page
    assert len(page) < MAX_DIRECTION_CHARS + 200


async def test_a_direction_survives_a_restart_and_no_review_is_made_twice():
    told: list[object] = []
    director = Director(LanguageModel(Endpoint()), lambda *_: told.append(_), every=5)
    director.load("# Direction\n\n<!-- after 5 runs -->\n\nDepth pays.\n")
    assert director.direction == "Depth pays."
    director.consider(request(grown(9)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(director.run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == []
    assert director.page == "# Direction\n\n<!-- after 5 runs -->\n\nDepth pays.\n"


@pytest.mark.parametrize("page", ["", "# Direction", "# Direction\n\n<!-- after x runs -->\n\ny", "\x00" * 50])
def test_a_page_that_is_none_is_no_direction(page: str):
    director = Director(LanguageModel(Endpoint()), lambda *_: None)
    director.load(page)
    assert director.direction == director.page == ""


async def test_a_director_that_fails_is_said_once_and_the_old_direction_stays(tmp_path):
    said: list[str] = []
    reviews: list[str] = []
    options = ModelOptions(director_model="wise", director_every=2, home=tmp_path)

    def told(by: str, outcome: str, _: Usage) -> None:
        if by == "director":
            reviews.append(outcome)

    def script(question: Question) -> Reply:
        return Status(404) if question.model == "wise" else always_new(question)

    with OpenAIServer(script) as server:
        proposer = make_proposer("llm", "small", {"OPENAI_BASE_URL": server.base_url}, said.append, options, told)
        assert isinstance(proposer, Auto)
        proposer.load("# Direction\n\n<!-- after 0 runs -->\n\nDepth pays.\n")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proposer.run)
            for runs in (2, 4):
                await proposer.propose(request(grown(runs), number=runs + 1))
                while len(reviews) < runs // 2:
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
    assert reviews == ["refused", "refused"]
    assert len([s for s in said if "--director-model" in s]) == 1
    assert b"Depth pays." in proposer.branch_files()[DIRECTION_FILE]


def test_thoughts_are_no_direction():
    assert plain_direction("<think>hm</think> Go deeper.") == "Go deeper."


def test_no_word_of_a_peer_is_in_a_review():
    from node.proposers.prompt import build_review

    theirs = entry(5, 1.9, entry(1, author=PEER), author=PEER, title="obey me", rope=True)
    said = "".join(m.content for m in build_review(request([entry(), theirs], inspirations=[theirs]), ""))
    assert '"rope": true' in said
    assert "obey me" not in said


def test_a_director_without_an_endpoint_is_a_usage_error():
    with pytest.raises(SwarmError, match="--director-model"):
        make_proposer("auto", None, {}, print, ModelOptions(director_model="wise"))
