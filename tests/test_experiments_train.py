"""experiments/train.py and answer.py: every setting trains, runs repeat, and the logits are the right ones."""

import importlib.util
import itertools
import json
import math
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_model

from node.trials.evaluator import read_shard
from node.trials.scoring import Sheet, Windows, bits_per_byte, nats_of
from node.trials.weights import MAX_WEIGHTS_BYTES
from swarm.brief import MAX_SOURCE_BYTES
from swarm.space import ChoiceParameter, SearchSpace

ROOT = Path(__file__).parent.parent
SETTINGS = tomllib.loads((ROOT / "configs/gpt.toml").read_text())
SPACE = SearchSpace.model_validate_json(json.dumps({"parameters": SETTINGS["space"]}))
TINY = {**SETTINGS["base"], "depth": 1, "width": 32, "heads": 2, "context": 32, "batch_size": 4, "embedding_std": 0.1}
TEXT = b"".join(b"the answer to question %d is %d.\n" % (i, i * i % 97) for i in range(400))


TOKENS = np.frombuffer(TEXT, np.uint8).astype(np.uint16)


def load(name):
    spec = importlib.util.spec_from_file_location(f"experiments_{name}", ROOT / "experiments" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


train, answer = load("train"), load("answer")


@pytest.fixture(autouse=True)
def _torch_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "train.bin"
    path.write_bytes(TEXT)
    return path


def run_train(tmp_path, shard, monkeypatch, capsys, config, *more, steps=3, seconds=1e9):
    """Exit status and events of one run."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    paths = ["--config", str(tmp_path / "config.json"), "--train", str(shard), "--out", str(tmp_path)]
    limits = ["--seconds", str(seconds), *(["--max-steps", str(steps)] if steps else [])]
    monkeypatch.setattr(sys, "argv", ["train.py", *paths, *limits, *more])
    monkeypatch.setattr(train, "STARTED", train.time.monotonic())
    with pytest.raises(SystemExit) as stop:
        train.main()
    return stop.value.code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def measure(model, tokens, context, batch_tokens=4096):
    """Nats over all tokens, as the evaluator asks for them, in this process."""
    windows, sheet, slot = Windows(tokens, context), Sheet(len(tokens)), torch.empty(max(batch_tokens, context) * 256)
    for batch in windows.whole_batches(batch_tokens, np.random.default_rng(0)):
        inputs = torch.from_numpy(windows.inputs(batch).astype(np.int64))
        answer.answer(model, inputs, slot, 256, torch.device("cpu"))
        logits = slot[: batch.tokens * 256].view(-1, 256).numpy()
        sheet.write(batch, nats_of(logits, windows.targets(batch).ravel()))
    return sheet.total()


def measured(tmp_path):
    config = json.loads((tmp_path / "config.json").read_text())
    model = answer.load_model_of(ROOT / "experiments/train.py", config, 256, tmp_path / "weights.safetensors")
    return measure(model, TOKENS, config["context"])


def test_the_base_config_is_inside_the_space():
    assert SPACE.normalise(SETTINGS["base"]) == SETTINGS["base"]


def test_train_py_is_ascii_and_fits_into_a_brief():
    source = (ROOT / "experiments/train.py").read_bytes()
    assert source.isascii()
    assert len(source) < MAX_SOURCE_BYTES


def test_every_width_and_number_of_heads_fit_together():
    for width in SPACE.parameters["width"].options:
        for heads in SPACE.parameters["heads"].options:
            assert width % heads == 0
            assert width // heads % 2 == 0  # rotary positions pair channels up


OPTIONS = [
    pytest.param({name: option}, id=f"{name}={option}")
    for name, parameter in SPACE.parameters.items()
    if isinstance(parameter, ChoiceParameter) and name not in ("width", "heads", "context", "batch_size")
    for option in parameter.options
]
MIXTURES = [
    {"heads": 8, "positions": "rope", "width": 32, "qk_norm": True},
    {"context": 512, "batch_size": 16, "positions": "rope"},  # fused attention, several forward passes a step
    {"optimizer": "muon", "activation": "swiglu", "tied_embeddings": True, "depth": 2, "norm": "rmsnorm"},
    {"optimizer": "muon", "ngram_order": 3, "init": "zero_output", "gradient_clip": 0.1, "dropout": 0.1},
    {"ngram_order": 4, "context": 64, "embedding_norm": True, "embedding_residual": True, "token_shift": True},
    {"dropout": 0.4, "gradient_clip": 0.5, "weight_decay": 0.5, "warmup_fraction": 0.3, "schedule": "trapezoid"},
]


@pytest.mark.parametrize("change", [*OPTIONS, *MIXTURES])
def test_every_option_trains(tmp_path, shard, monkeypatch, capsys, change):
    status, events = run_train(tmp_path, shard, monkeypatch, capsys, {**TINY, **change})
    assert status == 0
    assert [event["event"] for event in events] == ["start", "progress", "progress", "end"]
    assert events[-1]["outcome"] == "trained"
    assert events[-1]["steps"] == 3
    assert all(math.isfinite(event["train_loss"]) for event in events[1:3])
    assert (tmp_path / "weights.safetensors").stat().st_size >= 4 * events[0]["parameters"]


REPEATABLE = [
    {},
    {"optimizer": "muon", "dropout": 0.1, "positions": "rope"},
    {"optimizer": "muon", "ngram_order": 4, "token_shift": True, "embedding_residual": True},
]


@pytest.mark.parametrize("change", REPEATABLE)
def test_same_seed_and_steps_give_bitwise_the_same_measurement(tmp_path, shard, monkeypatch, capsys, change):
    scores = []
    for seed in (5, 5, 6):
        run_train(tmp_path, shard, monkeypatch, capsys, {**TINY, **change}, "--seed", str(seed), steps=5)
        scores.append(measured(tmp_path))
    assert scores[0] == scores[1]
    assert scores[0] != scores[2]


def test_a_run_by_the_clock_is_repeated_by_its_pace(tmp_path, shard, monkeypatch, capsys):
    """What the first run reported of its schedule is enough to take the same steps again, on a machine of any speed."""
    ticks = itertools.count(1)  # every look takes a twentieth of a second: a report about each sixth step
    config = {**TINY, "schedule": "cosine", "warmup_fraction": 0.3}
    with monkeypatch.context() as slow:
        slow.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 20))
        _, events = run_train(tmp_path, shard, slow, capsys, config, steps=None, seconds=6.0)
    first = {event["step"]: event for event in events if event["event"] == "progress"}
    pace = tmp_path / "pace.json"
    pace.write_text(json.dumps([[step, event["progress"]] for step, event in first.items()]))
    steps = max(first)
    _, events = run_train(tmp_path, shard, monkeypatch, capsys, config, "--pace", str(pace), steps=steps)
    again = {event["step"]: event for event in events if event["event"] == "progress"}
    assert again.keys() == first.keys()
    for step, event in again.items():
        assert event["progress"] == pytest.approx(first[step]["progress"])
        assert event["train_loss"] == pytest.approx(first[step]["train_loss"], abs=2e-3)


def test_loss_falls_on_a_small_text(tmp_path, shard, monkeypatch, capsys):
    config = {**TINY, "learning_rate": 1e-2, "batch_size": 16}
    _, events = run_train(tmp_path, shard, monkeypatch, capsys, config, steps=60)
    assert events[1]["train_loss"] > 5
    assert bits_per_byte(measured(tmp_path), len(TEXT)) < 3.5


def test_training_stops_while_there_is_time_to_save(tmp_path, shard, monkeypatch, capsys):
    ticks = itertools.count(1)  # a clock on which every look takes a twentieth of a second
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 20))
    status, events = run_train(tmp_path, shard, monkeypatch, capsys, TINY, steps=None, seconds=6.0)
    save_seconds = 0.1 + 4 * events[0]["parameters"] / 2e8
    assert 5 < events[-2]["seconds"] < 6 - save_seconds
    assert status == 0
    assert events[-1]["steps"] > 10
    assert (tmp_path / "weights.safetensors").exists()


def test_a_budget_too_short_for_one_step_is_one_sentence(tmp_path, shard, monkeypatch, capsys):
    status, _ = run_train(tmp_path, shard, monkeypatch, capsys, TINY, steps=None, seconds=0.01)
    assert status == "not one step of this config fits into 0.01 s on this machine"
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_loss_that_is_no_number_is_diverged(tmp_path, shard, monkeypatch, capsys):
    config = {**TINY, "learning_rate": 1e30}  # out of the space on purpose
    status, events = run_train(tmp_path, shard, monkeypatch, capsys, config, steps=20)
    assert status == 3
    assert events[-1]["outcome"] == "diverged"
    assert not (tmp_path / "weights.safetensors").exists()


def test_no_memory_is_said_so(tmp_path, shard, monkeypatch, capsys):
    config = {**TINY, "width": 2**22}  # 200 TiB of weights
    status, events = run_train(tmp_path, shard, monkeypatch, capsys, config)
    assert status == 4
    assert events[-1]["outcome"] == "out_of_memory"
    assert "allocate" in events[-1]["reason"]


def test_a_shard_shorter_than_the_context_is_one_sentence(tmp_path, shard, monkeypatch, capsys):
    shard.write_bytes(b"short")
    status, _ = run_train(tmp_path, shard, monkeypatch, capsys, TINY)
    assert status == "train.bin has 5 tokens, context 32 needs more"


def test_schedules():
    def factor(schedule, progress, warmup=0.0):
        config = {"schedule": schedule, "warmup_fraction": warmup, "cooldown_fraction": 0.5}
        return train.learning_rate_factor(config, progress)

    assert factor("constant", 0.99) == 1
    assert factor("linear", 0.25) == 0.75
    assert factor("cosine", 0.5) == pytest.approx(0.5)
    assert [factor("trapezoid", at) for at in (0.3, 0.75, 1.0)] == [1, 0.5, 0]
    assert [factor("constant", at, warmup=0.2) for at in (0.0, 0.1, 0.3)] == [0.01, 0.5, 1]
    assert factor("linear", 0.6, warmup=0.2) == pytest.approx(0.5)


def test_newton_schulz_gives_nearly_orthogonal_matrices():
    values = torch.randn(3, 24, 8, generator=torch.Generator().manual_seed(0))
    singular = torch.linalg.svdvals(train.orthogonalise(values))
    assert singular.min() > 0.6
    assert singular.max() < 1.3


def slow_nats(model, tokens, context):
    """One token at a time, as the words of scoring.py say it."""
    nats = 0.0
    for at, target in enumerate(tokens):
        begin = at // context * context
        window = [0 if i == 0 else tokens[i - 1] for i in range(begin, at + 1)]
        with torch.inference_mode():
            logits = model(torch.tensor([window]))[0, -1].double()
        nats -= torch.log_softmax(logits, -1)[target].item()
    return nats


@pytest.mark.parametrize("length", [1, 31, 32, 33, 96, 205])
@pytest.mark.parametrize("positions", ["learned", "rope"])
def test_evaluation_equals_a_slow_reference(monkeypatch, length, positions):
    monkeypatch.setattr(train, "CPU_DTYPE", torch.float32)  # so that the two ways agree to the last digits
    torch.manual_seed(0)
    model = train.build_model({**TINY, "positions": positions}, 256).eval()
    tokens = TOKENS[:length]
    nats = measure(model, tokens, TINY["context"], batch_tokens=64)  # more than one forward pass
    assert nats == pytest.approx(slow_nats(model, tokens.tolist(), TINY["context"]), rel=1e-6)


@pytest.mark.parametrize("tied", [False, True])
def test_weights_come_back_as_they_were(tmp_path, tied):
    config = {**TINY, "tied_embeddings": tied}
    torch.manual_seed(1)
    model = train.build_model(config, 256).eval()
    save_model(model, str(tmp_path / "w.safetensors"))
    again = answer.load_model_of(ROOT / "experiments/train.py", config, 256, tmp_path / "w.safetensors")
    tokens = torch.arange(64).view(2, 32)
    assert torch.equal(model(tokens), again(tokens))


def test_weights_that_a_candidate_ties_itself_come_back(tmp_path):
    source = tmp_path / "tied.py"
    source.write_text(
        "from torch import nn\n"
        "def build_model(config, vocab_size):\n"
        "    model = nn.Sequential(nn.Embedding(vocab_size, 8), nn.Linear(8, vocab_size, bias=False))\n"
        "    model[1].weight = model[0].weight\n"
        "    return model\n"
    )
    model = answer.load_source(source).build_model({}, 256)
    save_model(model, str(tmp_path / "w.safetensors"))
    again = answer.load_model_of(source, {}, 256, tmp_path / "w.safetensors")
    assert torch.equal(again[0].weight, model[0].weight)
    assert again[1].weight is again[0].weight


def test_an_answer_of_another_shape_is_refused():
    with pytest.raises(answer.WrongShape):
        answer.answer(lambda x: torch.zeros(2, 3, 4), torch.zeros(2, 3), torch.zeros(99), 256, torch.device("cpu"))


def test_a_vocabulary_above_256_is_two_bytes_a_token(tmp_path, monkeypatch, capsys):
    shard = tmp_path / "train.bin"
    (np.arange(500, dtype="<u2") % 300).tofile(shard)
    status, _ = run_train(tmp_path, shard, monkeypatch, capsys, TINY, "--vocab-size", "300")
    assert status == 0
    assert read_shard(shard, 300).max() == 299


BEST = json.loads((ROOT / "configs/best/cpu.json").read_text())
CAUSAL = [
    {},
    {"positions": "rope", "qk_norm": True, "tied_embeddings": True},
    {"ngram_order": 4, "token_shift": True, "embedding_residual": True, "embedding_norm": True, "norm": "plain"},
    {"activation": "swiglu", "norm": "rmsnorm", "logit_softcap": 15.0},
]


def shaken(config):
    """A model whose every weight counts, also those that begin at zero."""
    torch.manual_seed(0)
    model = train.build_model(config, 256).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("change", CAUSAL)
@torch.inference_mode()
def test_no_logit_knows_a_later_token_or_another_window(monkeypatch, change):
    monkeypatch.setattr(train, "CPU_DTYPE", torch.float32)
    model = shaken({**TINY, **change})
    tokens = torch.from_numpy(TOKENS[:128].astype(np.int64)).view(4, 32)
    logits = model(tokens)
    for length in (1, 7, 31):
        torch.testing.assert_close(model(tokens[:1, :length]), logits[:1, :length], rtol=1e-3, atol=1e-4)
    changed = tokens.clone()
    changed[:, 20] += 1
    moved = (model(changed) - logits).abs().amax(dim=(0, 2))
    assert moved[:20].max() == 0
    assert moved[20:].min() > 1e-5


def test_the_shipped_best_config_is_inside_the_space_and_trains(tmp_path, shard, monkeypatch, capsys):
    assert SPACE.normalise(BEST) == BEST
    status, events = run_train(tmp_path, shard, monkeypatch, capsys, BEST, steps=2)
    assert status == 0
    assert events[0]["parameters"] * 4 < MAX_WEIGHTS_BYTES


def test_the_largest_weights_stay_below_what_is_measured():
    largest = {"depth": 8, "width": 384, "activation": "gelu", "context": 512, "ngram_order": 6, "ngram_rows": 32768}
    with torch.device("meta"):
        model = train.build_model({**SETTINGS["base"], **largest}, 256)
    assert 0.95 * MAX_WEIGHTS_BYTES < 4 * sum(weight.numel() for weight in model.parameters()) < MAX_WEIGHTS_BYTES


def test_lanes_share_a_batch_and_come_to_the_same_gradient(monkeypatch):
    monkeypatch.setattr(train, "CPU_DTYPE", torch.float32)
    config = {**TINY, "ngram_order": 3}
    tokens = torch.from_numpy(TOKENS[: 4 * 33].astype(np.int64)).view(4, 33)
    gradients = []
    for lanes in (1, 2):
        torch.manual_seed(0)
        model = train.build_model(config, 256)
        _, stacks = train.make_optimizers(model, config, torch.device("cpu"))
        worker = train.Worker(model, stacks, torch.device("cpu"), lanes)
        loss = worker.add_gradients(tokens.split(4 // lanes), tokens[:, 1:].numel(), first=True)
        assert loss == pytest.approx(math.log(256), rel=0.5)
        gradients.append([*(stack.gradient for stack in stacks), model.ngrams.table.grad.to_dense()])
    for one, two in zip(*gradients, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)


def test_rows_that_were_not_looked_up_stay_and_rare_ones_move_most():
    table = torch.nn.Parameter(torch.zeros(4, 2))
    optimizer = train.SparseAdagrad(table, learning_rate=0.1)
    for rows in ([0, 1], [0], [0, 0]):
        table.grad = torch.sparse_coo_tensor([rows], torch.ones(len(rows), 2), (4, 2), check_invariants=True)
        optimizer.step(1.0)
    assert table[1].tolist() == pytest.approx([-0.1, -0.1])
    assert table[0].tolist() == pytest.approx([-0.1 * (1 + 2**-0.5 + 2 / 6**0.5)] * 2)
    assert table[2:].abs().max() == 0
    assert table.grad is None


def test_squared_relu_has_the_gradient_of_its_definition():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    assert torch.equal(train.SquaredRelu.apply(x), torch.relu(x).square())
    assert torch.autograd.gradcheck(train.SquaredRelu.apply, (x + 0.01).detach().requires_grad_())


def test_where_no_compiler_can_run_the_model_stays_as_it_is(monkeypatch):
    def refuse(_):
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(train.torch, "compile", lambda _: refuse)
    model = train.build_model(TINY, 256)
    tokens = torch.zeros(1, 32, dtype=torch.long)
    assert train.compile_if_possible(model, tokens) is False
    assert model(tokens).shape == (1, 32, 256)


def test_what_compiles_is_used_and_leaves_no_gradient(monkeypatch):
    monkeypatch.setattr(train.torch, "compile", lambda predict: lambda x: predict(x) + 1)
    model = train.build_model(TINY, 256)
    tokens = torch.zeros(1, 32, dtype=torch.long)
    before = model(tokens)
    assert train.compile_if_possible(model, tokens) is True
    torch.testing.assert_close(model(tokens), before + 1)
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("name", "peak"), [("NVIDIA L40S", 362e12), ("NVIDIA L4", 121e12), ("NVIDIA H100 80GB HBM3", 989e12), ("X", None)]
)
def test_the_peak_of_a_device_goes_by_its_name(monkeypatch, name, peak):
    monkeypatch.setattr(train.torch.cuda, "get_device_name", lambda _: name)
    assert train.peak_flops(torch.device("cuda")) == peak
    assert train.peak_flops(torch.device("cpu")) is None


def test_flops_are_six_for_each_weight_that_multiplies_and_attention():
    config = {**TINY, "width": 64, "depth": 2}
    blocks, head, attention = 2 * 12 * 64 * 64, 256 * 64, 12 * 2 * 64 * 32
    for tied in (False, True):
        model = train.build_model({**config, "tied_embeddings": tied}, 256)
        assert train.model_flops_per_token(model, config) == 6 * (blocks + head) + attention
