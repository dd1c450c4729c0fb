"""A home with as many nodes and runs as asked for, signed and sound, as a week of a swarm leaves it. For looking.

A made-up surface over a search space like the real one: every node climbs from its own best, takes over what peers
found, and repeats what looks promising. The same arguments make the same runs.
"""

import math
import random
from dataclasses import dataclass, field
from pathlib import Path

from gossip.envelope import Record, seal
from gossip.heard import Heard, Way
from gossip.identity import Identity, load_or_create
from node.clock import rfc3339
from node.home import Home
from node.journal import Journal
from node.names import friendly_name
from swarm.brief import Acceptance, Brief, Corpus, Shard, brief_id, encode_brief, source_sha256
from swarm.finding import CurvePoint, Finding, Proposal, encode_finding
from swarm.replay import Replay, encode_replay
from swarm.space import ChoiceParameter, FloatParameter, IntParameter, SearchSpace
from swarm.trial import Track, Trial, reported
from swarm.verdict import Noise, judge
from swarm.words import Config, FindingId, Operator, Outcome

ROOT = Path(__file__).parent.parent
NOISE = Noise(0.008, 12.0)
START_S = 1_763_600_000.0  # unix seconds of the first run
CLASSES = ("cpu-x86_64-8", "cpu-x86_64-8", "cpu-x86_64-8", "cuda-rtx4090", "cuda-rtx4090")  # of nodes in turn
BASE: Config = {
    "depth": 2, "width": 128, "heads": 2, "sequence_length": 64, "batch_size": 12, "learning_rate": 1e-3,
    "weight_decay": 0.1, "warmup": 0.05, "norm": "layernorm", "rope": False, "activation": "gelu", "optimizer": "adamw",
}  # fmt: skip
_EDITS = (
    ("import math", "import math\nimport operator"),
    ("return ", "# a residual that starts at zero, so that depth costs nothing at first\n    return "),
    ("for ", "# the schedule is warmed up before the first step\n    for "),
    ("torch.manual_seed", "# one seed for all\n    torch.manual_seed"),
)


def archive_brief() -> Brief:
    """With the train.py that ships, and a space of twelve settings."""
    shard = Shard(sha256="0" * 64, raw_bytes=9_800_000, tokens=9_800_000)
    whole, share, choice = IntParameter, FloatParameter, ChoiceParameter
    return Brief(
        name="pysource",
        goal=(ROOT / "configs" / "goal.md").read_text(),
        editable={"train.py": (ROOT / "experiments" / "train.py").read_text()},
        base_config=BASE,
        space=SearchSpace(
            parameters={
                "depth": whole(low=1, high=12), "width": whole(low=64, high=512, log=True),
                "heads": whole(low=1, high=8), "sequence_length": whole(low=32, high=512, log=True),
                "batch_size": whole(low=4, high=64, log=True), "learning_rate": share(low=1e-4, high=3e-2, log=True),
                "weight_decay": share(low=0.0, high=0.3), "warmup": share(low=0.0, high=0.3),
                "norm": choice(options=("layernorm", "rmsnorm")), "rope": choice(options=(False, True)),
                "activation": choice(options=("gelu", "relu2", "silu")),
                "optimizer": choice(options=("adamw", "muon", "lion")),
            }
        ),
        corpus=Corpus(documents=1_412, train=shard, validation=shard, sealed=shard),
        acceptance=Acceptance(),
    )  # fmt: skip


def surface(config: Config, edits: int) -> float:
    """Bits per byte: 2.9 at the start, about 1.4 at best."""

    def number(name: str) -> float:
        return float(config[name])

    bpb = 1.42 + 0.05 * abs(math.log2(number("width") / 224)) + 0.035 * abs(number("depth") - 5)
    bpb += 0.09 * abs(math.log10(number("learning_rate") / 4e-3)) ** 1.5 + 0.03 * abs(
        math.log2(number("batch_size") / 20)
    )
    bpb += 0.06 * abs(math.log2(number("sequence_length") / 192)) + 0.12 * abs(number("weight_decay") - 0.06)
    bpb += {"layernorm": 0.05, "rmsnorm": 0.0}[str(config["norm"])] + (0.0 if config["rope"] else 0.09)
    bpb += {"gelu": 0.03, "relu2": 0.0, "silu": 0.02}[str(config["activation"])]
    return bpb + {"adamw": 0.08, "muon": 0.0, "lion": 0.05}[str(config["optimizer"])] - 0.004 * edits


@dataclass
class MadeNode:
    """One author's log and where its branch stands."""

    identity: Identity
    track: Track
    name: str
    records: list[Record] = field(default_factory=list[Record])
    best: "MadeRun | None" = None

    def sign(self, brief: str, payload: bytes, at_s: float, kind: str = "finding") -> Record:
        previous = self.records[-1].id if self.records else ""
        made = seal(self.identity, kind, brief, len(self.records) + 1, previous, int(at_s * 1000), payload)
        self.records.append(made)
        return made


@dataclass(frozen=True)
class MadeRun:
    id: FindingId
    config: Config
    source: str | None
    edits: int
    scores: tuple[float, ...]
    node: str
    key: str


def make_archive(path: Path, *, nodes: int, runs: int, seed: int = 7) -> Home:
    """`runs` of each of so many nodes; the first one is the home's own."""
    home, rng, brief = Home(path), random.Random(seed), archive_brief()
    home.create()
    data = encode_brief(brief)
    id = brief_id(data)
    home.save_brief(id, data)
    own = load_or_create(home.key)
    made = [_node(own if n == 0 else Identity(rng.randbytes(32)), n) for n in range(nodes)]
    journal = Journal(home.journal)
    journal.execute("PRAGMA synchronous = OFF")
    topic = journal.of(id)
    newest: list[MadeRun] = []
    for turn in range(runs):
        for node in made:
            at_s = START_S + turn * 420 + rng.uniform(0, 400)
            record, run = _run(node, brief, id, turn + 1, at_s, newest, rng)
            heard = None if node is made[0] else Heard(node.identity.peer_id, Way.BROADCAST)
            topic.append(record, received=at_s + 1, own=node is made[0], heard=heard)
            if node is made[0]:
                journal.remember_commit(record.id, rng.randbytes(20).hex())
            if run is not None:
                newest = [*newest[-40:], run]
                if rng.random() < 0.15 and len(made) > 1:
                    other = made[(made.index(node) + rng.randrange(1, len(made))) % len(made)]
                    if other.track == node.track:
                        topic.append(
                            _replay(other, run, id, at_s + 300, rng), received=at_s + 300, own=other is made[0]
                        )
    journal.close()
    home.write_state(_state(made[0], id, brief, runs))
    return home


def _node(identity: Identity, number: int) -> MadeNode:
    gpu = CLASSES[number % len(CLASSES)].startswith("cuda")
    track = Track(hardware_class=CLASSES[number % len(CLASSES)], budget_seconds=300.0 if gpu else 120.0)
    return MadeNode(identity, track, friendly_name(identity.peer_id))


def _run(
    node: MadeNode, brief: Brief, id: str, number: int, at_s: float, newest: list[MadeRun], rng: random.Random
) -> tuple[Record, MadeRun | None]:
    peers = [run for run in newest if run.node != node.identity.peer_id]
    parent, told = node.best, peers[-1] if peers and rng.random() < 0.12 else None
    config, source, edits, title = _idea(brief, parent, told, rng)
    true = surface(config, edits) - (0.3 if node.track.hardware_class.startswith("cuda") else 0.0)
    trials = [_trial(node, true, rng)]
    while trials[0].val_bpb is not None and parent and trials[0].val_bpb < min(parent.scores) and len(trials) < 3:
        trials.append(_trial(node, true, rng, again=True))
    verdict = judge(trials, parent.scores if parent else None, NOISE, brief.acceptance)
    proposal = Proposal(
        operator=_operator(parent, told, source),
        proposer=_proposer(parent, told, source, rng),
        config=config,
        source_sha256=source_sha256(source or brief.source),
        source=source,
        parent=parent.id if parent else None,
        inspirations=(told.id,) if told else (),
        title=title,
        rationale="" if parent is None else _rationale(title, parent),
    )
    finding = Finding(
        number=number,
        node_name=node.name,
        started_at=rfc3339(at_s),
        proposal=proposal,
        trials=tuple(trials),
        verdict=verdict,
    )
    record = node.sign(id, encode_finding(finding), at_s)
    if verdict.decision.value != "keep":
        return record, None
    node.best = MadeRun(
        FindingId(record.id), config, source, edits, reported(trials), node.identity.peer_id, proposal.key
    )
    return record, node.best


def _operator(parent: MadeRun | None, told: MadeRun | None, source: str | None) -> Operator:
    if parent is None:
        return Operator.DRAFT
    return Operator.COMBINE if told else Operator.TUNE if source == parent.source else Operator.IMPROVE


def _proposer(parent: MadeRun | None, told: MadeRun | None, source: str | None, rng: random.Random) -> str:
    if parent is None:
        return "baseline"
    if source != parent.source:
        return "llm:qwen3-coder-30b"
    return f"classic/{'crossover' if told else rng.choice(('tpe', 'local', 'cmaes', 'random'))}"


def _rationale(title: str, parent: MadeRun) -> str:
    return (
        f"The best run so far is at {min(parent.scores):.4f}. {title.capitalize()}: what this costs in steps it should "
        "give back in loss, because the first steps are where this budget is spent."
    )


def _idea(
    brief: Brief, parent: MadeRun | None, told: MadeRun | None, rng: random.Random
) -> tuple[Config, str | None, int, str]:
    if parent is None:
        return dict(brief.base_config), None, 0, "the brief's own start"
    config = dict(parent.config)
    if told is not None:
        name = rng.choice([key for key, value in told.config.items() if value != config[key]] or ["width"])
        config[name] = told.config[name]
        return config, parent.source, parent.edits, f"take {name} {_shown(config[name])} from a peer"
    if rng.random() < 0.1:
        old, new = rng.choice(_EDITS)
        source = (parent.source or brief.source).replace(old, new, 1)
        return config, source, parent.edits + 1, f"train.py: {new.splitlines()[0].lstrip('# ')[:60]}"
    names = rng.sample(sorted(config), rng.choice((1, 1, 2)))
    for name in names:
        config[name] = _moved(brief, name, config[name], rng)
    return (
        brief.space.normalise(config),
        parent.source,
        parent.edits,
        ", ".join(f"{n} {_shown(config[n])}" for n in names),
    )


def _moved(brief: Brief, name: str, value: object, rng: random.Random):
    parameter = brief.space.parameters[name]
    if isinstance(parameter, ChoiceParameter):
        return rng.choice(parameter.options)
    if parameter.log:
        moved = float(str(value)) * math.exp(rng.gauss(0, 0.4))
    else:
        moved = float(str(value)) + rng.gauss(0, 0.15) * (parameter.high - parameter.low)
    moved = min(max(moved, parameter.low), parameter.high)
    return round(moved) if isinstance(parameter, IntParameter) else float(f"{moved:.3g}")


def _trial(node: MadeNode, true: float, rng: random.Random, *, again: bool = False) -> Trial:
    luck = 1.0 if again else rng.random()
    ends = {0.02: (Outcome.OUT_OF_MEMORY, "torch.OutOfMemoryError: tried to allocate 2.31 GiB"),
            0.05: (Outcome.CRASHED, "RuntimeError: mat1 and mat2 shapes cannot be multiplied (768x128 and 96x384)"),
            0.07: (Outcome.DIVERGED, "the loss is not a number after step 214")}  # fmt: skip
    outcome, reason = next((end for limit, end in ends.items() if luck < limit), (Outcome.MEASURED, ""))
    budget, steps = node.track.budget_seconds, rng.randrange(2000, 4000)
    last = true * math.log(2)
    curve = tuple(
        CurvePoint(step=n * steps // 39, seconds=round(budget * n / 39, 2), train_loss=_loss(last, n, rng))
        for n in range(40)
    )
    return Trial(
        outcome=outcome, reason=reason, track=node.track, seed=rng.randrange(2**31), seconds=budget - rng.random(),
        val_bpb=max(0.1, true + rng.gauss(0, NOISE.sd)) if outcome is Outcome.MEASURED else None,
        steps=steps, tokens=steps * 768, parameters=rng.randrange(300_000, 4_000_000),
        peak_memory_bytes=rng.randrange(400 << 20, 3 << 30), curve=curve if outcome is Outcome.MEASURED else curve[:9],
    )  # fmt: skip


def _loss(last: float, point: int, rng: random.Random) -> float:
    return last + 3.2 * math.exp(-point / 5) + rng.gauss(0, 0.02)


def _replay(node: MadeNode, run: MadeRun, id: str, at_s: float, rng: random.Random) -> Record:
    trial = _trial(node, sum(run.scores) / len(run.scores), rng, again=True)
    made = Replay(of=run.id, key=run.key, node_name=node.name, started_at=rfc3339(at_s), trial=trial)
    return node.sign(id, encode_replay(made), at_s, "replay")


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _state(own: MadeNode, id: str, brief: Brief, runs: int) -> dict[str, object]:
    rng, budget = random.Random(1), own.track.budget_seconds
    curve = [[n * 1.5, 1.1 + 3.2 * math.exp(-n / 9) + rng.gauss(0, 0.02)] for n in range(52)]
    return {
        "name": own.name, "peer_id": own.identity.peer_id, "topic": brief.name, "brief_id": id,
        "hardware_class": own.track.hardware_class, "budget_s": budget, "proposer": "auto", "sandbox": "landlock",
        "started_at": "2026-01-01T00:00:00Z", "peers": [], "training_share": 0.962,
        "ticket": "swarm1" + "q2w3e4r5t6" * 24,
        "current": {"number": runs + 1, "title": "learning_rate 0.0037, warmup 0.08", "started_at": rfc3339(START_S),
                    "budget_s": budget, "side": "candidate", "turn": 1, "evaluating": False, "seconds": curve[-1][0],
                    "train_loss": curve[-1][1], "tokens_per_second": 31_250.0, "curve": curve},
        "notices": [{"at": rfc3339(START_S), "text": "metrics at http://127.0.0.1:9464/metrics", "warning": False}],
    }  # fmt: skip
