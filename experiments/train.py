"""Train a small GPT for a fixed number of seconds.

    python train.py --config config.json --train train.bin --seconds 120 --seed 0 --out DIR

In:  a config (configs/gpt.toml says which keys and values), and a shard of tokens: raw uint8, or little-endian uint16
     when the vocabulary is larger than 256.
Out: DIR/weights.safetensors, and on standard output one JSON object a line: start, progress (once a second), end.
Exit status: 0 trained, 3 diverged, 4 out of memory, anything else crashed.

Whoever measures the result imports this file, calls build_model(config, vocab_size), loads the weights, and asks for
logits: model(tokens (B, T)) -> (B, T, V). Keep these names. The clock and the metric are not this file's business.
"""

import time

STARTED = time.monotonic()  # before the slow imports: they are part of the budget

import argparse  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save_model  # noqa: E402
from torch import nn  # noqa: E402

ADAM_BETAS = (0.9, 0.95)
MUON_MOMENTUM = 0.95
COOLDOWN_FRACTION = 0.5  # share of the budget in which the trapezoid falls
MICRO_TOKENS = {"cpu": 4096, "cuda": 65536}  # tokens per forward pass; bounds memory and the time between clock checks
MANUAL_ATTENTION_MAX = 256  # tokens; up to here plain matrix products beat fused attention on a CPU (measured)
DIVERGED, OUT_OF_MEMORY = 3, 4  # exit statuses


def cpu_has_bfloat16():
    """Whether this CPU multiplies bfloat16 natively. Where it does not, bfloat16 is slower than float32."""
    try:
        with open("/proc/cpuinfo") as file:
            flags = next((line for line in file if line.startswith("flags")), "").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


CPU_DTYPE = torch.bfloat16 if cpu_has_bfloat16() else torch.float32


def compute_dtype(device):
    """Activations; weights and optimizer state are always float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    return CPU_DTYPE


# ---------------------------------------------------------------------------------------------------------------------
# The model


class Matrices(nn.Module):
    """One or several linear maps of the same input, without bias. Kept apart so that Muon treats each on its own."""

    def __init__(self, parts, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(parts, outputs, inputs))

    def forward(self, x):  # (..., inputs) -> (..., parts * outputs)
        return F.linear(x, self.weight.flatten(0, 1).to(x.dtype))


class Norm(nn.Module):
    def __init__(self, config):
        super().__init__()
        width = config["width"]
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if config["norm"] == "layernorm" else None

    def forward(self, x):  # (B, T, C)
        weight = self.weight.to(x.dtype)
        if self.bias is None:
            return F.rms_norm(x, weight.shape, weight)
        return F.layer_norm(x, weight.shape, weight, self.bias.to(x.dtype))


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.qk_norm = config["heads"], config["qk_norm"]
        self.qkv = Matrices(3, config["width"], config["width"])
        self.out = Matrices(1, config["width"], config["width"])

    def forward(self, x, rotation, mask):
        B, T, C = x.shape
        H, D = self.heads, C // self.heads
        q, k, v = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4)  # each (B, H, T, D)
        if rotation is not None:
            q, k = rotate(q, *rotation), rotate(k, *rotation)
        if self.qk_norm:
            q, k = F.rms_norm(q, (D,)), F.rms_norm(k, (D,))
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        else:
            q, k, v = (part.reshape(B * H, T, D) for part in (q, k, v))
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=D**-0.5)  # (B*H, T, T)
            y = torch.bmm(torch.softmax(scores, dim=-1), v).view(B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


def rotate(x, cos, sin):  # (B, H, T, D), (T, D/2), (T, D/2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)


class FeedForward(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.activation, width = config["activation"], config["width"]
        gated = self.activation == "swiglu"
        hidden = -(-8 * width // 3 // 32) * 32 if gated else 4 * width  # about as many weights either way
        self.up = Matrices(2 if gated else 1, width, hidden)
        self.out = Matrices(1, hidden, width)

    def forward(self, x):  # (B, T, C)
        x = self.up(x)
        if self.activation == "swiglu":
            gate, x = x.chunk(2, dim=-1)
            return self.out(F.silu(gate) * x)
        return self.out(F.relu(x).square() if self.activation == "relu2" else F.gelu(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dropout = config["dropout"]
        self.norm_attention, self.attention = Norm(config), Attention(config)
        self.norm_feed_forward, self.feed_forward = Norm(config), FeedForward(config)

    def forward(self, x, rotation, mask):  # (B, T, C)
        x = x + self._drop(self.attention(self.norm_attention(x), rotation, mask))
        return x + self._drop(self.feed_forward(self.norm_feed_forward(x)))

    def _drop(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class GPT(nn.Module):
    def __init__(self, config, vocab_size):
        super().__init__()
        width, context = config["width"], config["context"]
        self.config = dict(config)
        self.embedding = nn.Parameter(torch.empty(vocab_size, width))
        self.position = nn.Parameter(torch.empty(context, width)) if config["positions"] == "learned" else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config["depth"]))
        self.norm = Norm(config)
        self.head = None if config["tied_embeddings"] else Matrices(1, width, vocab_size)
        self._tables = {}  # constants per device and precision, no weights
        self._init_weights()

    def _init_weights(self):
        init, depth = self.config["init"], self.config["depth"]
        for name, module in self.named_modules():
            if not isinstance(module, Matrices):
                continue
            for weight in module.weight.data:  # (outputs, inputs)
                if init == "default":
                    nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
                elif init == "kaiming":
                    nn.init.kaiming_normal_(weight, nonlinearity="relu")
                elif init == "xavier":
                    nn.init.xavier_uniform_(weight)
                else:  # scaled: the residual stream does not grow with depth
                    nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth) if name.endswith(".out") else 0.02)
        for weight in (self.embedding, self.position):
            if weight is not None:
                nn.init.normal_(weight, std=self.config["embedding_std"])

    def _constants(self, T, device, dtype):
        """Rotation tables and the causal mask, made once."""
        key = (T, device, dtype)
        if key not in self._tables:
            rotation = mask = None
            if self.config["positions"] == "rope":
                D = self.config["width"] // self.config["heads"]
                frequency = 10000.0 ** (-torch.arange(0, D, 2, device=device) / D)
                angle = torch.arange(T, device=device)[:, None] * frequency  # (T, D/2)
                rotation = (angle.cos().to(dtype), angle.sin().to(dtype))
            if device.type == "cpu" and T <= MANUAL_ATTENTION_MAX:
                mask = torch.full((T, T), -math.inf, dtype=dtype, device=device).triu(1)
            self._tables[key] = (rotation, mask)
        return self._tables[key]

    def forward(self, tokens):  # (B, T) integers -> logits (B, T, V) float32
        T = tokens.shape[1]
        dtype = compute_dtype(tokens.device)
        rotation, mask = self._constants(T, tokens.device, dtype)
        x = F.embedding(tokens, self.embedding)
        if self.position is not None:
            x = x + self.position[:T]
        x = x.to(dtype)
        if self.config["dropout"]:
            x = F.dropout(x, self.config["dropout"], self.training)
        for block in self.blocks:
            x = block(x, rotation, mask)  # (B, T, C)
        x = self.norm(x)
        logits = (F.linear(x, self.embedding.to(dtype)) if self.head is None else self.head(x)).float()
        cap = self.config["logit_softcap"]
        return cap * torch.tanh(logits / cap) if cap else logits


def build_model(config: dict, vocab_size: int) -> nn.Module:
    """The model of a config, freshly initialised from torch's global seed."""
    return GPT(config, vocab_size)


# ---------------------------------------------------------------------------------------------------------------------
# Optimizers and schedule


class Muon:
    """Momentum, then the nearest orthogonal matrix as the step. For the matrices inside the blocks."""

    def __init__(self, weights, learning_rate, weight_decay, dtype):
        self.learning_rate, self.weight_decay, self.dtype = learning_rate, weight_decay, dtype
        self.groups = {}  # equal shapes are orthogonalised together
        for weight in weights:
            self.groups.setdefault(weight.shape[1:], []).append(weight)
        self.momenta = {weight: torch.zeros_like(weight) for weight in weights}

    @torch.no_grad()
    def step(self, factor):
        rate = self.learning_rate * factor
        for (rows, columns), weights in self.groups.items():
            updates = []
            for weight in weights:
                momentum = self.momenta[weight].lerp_(weight.grad, 1 - MUON_MOMENTUM)
                updates.append(weight.grad.lerp(momentum, MUON_MOMENTUM))  # Nesterov
            directions = orthogonalise(torch.cat(updates).to(self.dtype))  # (matrices, rows, columns)
            directions = directions.float() * max(1.0, rows / columns) ** 0.5
            for weight, direction in zip(weights, directions.split([len(weight) for weight in weights]), strict=True):
                weight.mul_(1 - rate * self.weight_decay).sub_(direction, alpha=rate)


def orthogonalise(x):
    """Newton-Schulz: five steps of a quintic that pulls every singular value towards 1. (N, rows, columns)"""
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) * 1.02 + 1e-6)
    for _ in range(5):
        a = x @ x.mT
        b = torch.baddbmm(a, a, a, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, b, x, beta=3.4445)
    return x.mT if tall else x


def make_optimizers(model, config, device):
    """Functions that take one step at `factor` times their learning rate."""
    inside = [module.weight for module in model.blocks.modules() if isinstance(module, Matrices)]
    head = [] if model.head is None else [model.head.weight]
    matrices = {id(weight) for weight in inside + head}
    rest = [weight for weight in model.parameters() if id(weight) not in matrices]
    steps = []
    decayed = head
    if config["optimizer"] == "muon":
        muon = Muon(inside, config["muon_learning_rate"], config["weight_decay"], compute_dtype(device))
        steps.append(muon.step)
    else:
        decayed = inside + head
    groups = [{"params": decayed, "weight_decay": config["weight_decay"]}, {"params": rest, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    adamw = torch.optim.AdamW(groups, lr=config["learning_rate"], betas=ADAM_BETAS, fused=True)

    def adamw_step(factor):
        for group in adamw.param_groups:
            group["lr"] = config["learning_rate"] * factor
        adamw.step()

    return [*steps, adamw_step]


def learning_rate_factor(config, progress):
    """Progress is the share of the budget that is used, 0 to 1."""
    warmup, schedule = config["warmup_fraction"], config["schedule"]
    if progress < warmup:
        return max(0.01, progress / warmup)
    after = (progress - warmup) / max(1e-9, 1.0 - warmup)
    if schedule == "linear":
        return max(0.0, 1.0 - after)
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * min(1.0, after)))
    if schedule == "trapezoid":
        return max(0.0, min(1.0, (1.0 - progress) / COOLDOWN_FRACTION))
    return 1.0


# ---------------------------------------------------------------------------------------------------------------------
# Data


class Windows:
    """Random windows of context + 1 tokens from a shard."""

    def __init__(self, path, vocab_size, context, seed):
        self.tokens = np.memmap(path, dtype=np.uint8 if vocab_size <= 256 else np.dtype("<u2"), mode="r")
        if len(self.tokens) <= context:
            raise SystemExit(f"{os.path.basename(path)} has {len(self.tokens)} tokens, context {context} needs more")
        self.random = np.random.default_rng(seed)
        self.span = np.arange(context + 1)

    def draw(self, count):  # -> (count, context + 1) int64
        starts = self.random.integers(0, len(self.tokens) - len(self.span) + 1, size=count)
        return torch.from_numpy(self.tokens[starts[:, None] + self.span].astype(np.int64))


# ---------------------------------------------------------------------------------------------------------------------
# Training


class OutOfTime(Exception):
    """The next piece of work would end after the deadline."""


class Clock:
    """Budget used so far, and whether one more piece of work fits into what is left."""

    def __init__(self, seconds, save_seconds):
        self.seconds, self.save_seconds = seconds, save_seconds
        self.piece_seconds, self.last = 0.0, time.monotonic()

    def elapsed(self):
        return time.monotonic() - STARTED

    def check(self):
        """Call before each piece; the longest recent piece is what the next one is expected to take."""
        now = time.monotonic()
        self.piece_seconds = max(now - self.last, 0.95 * self.piece_seconds)
        self.last = now
        if now - STARTED + 1.2 * self.piece_seconds + self.save_seconds > self.seconds:
            raise OutOfTime


def emit(event, **fields):
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in fields.items()}
    print(json.dumps({"event": event, **finite}), flush=True)


def peak_memory_bytes(device):
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def train(config, arguments, device):
    """Returns the model and (steps, tokens, outcome)."""

    # 1. Model, optimizers, data: all from one seed
    torch.manual_seed(arguments.seed)
    model = build_model(config, arguments.vocab_size).to(device).train()
    weights = list(model.parameters())
    parameters = sum(weight.numel() for weight in weights)
    optimizers = make_optimizers(model, config, device)
    B, T = config["batch_size"], config["context"]
    windows = Windows(arguments.train, arguments.vocab_size, T, arguments.seed)
    micro = max(1, min(B, MICRO_TOKENS[device.type] // T))  # windows per forward pass
    emit("start", parameters=parameters, device=device.type, threads=torch.get_num_threads())

    # 2. Go, until the clock or the number of steps says stop
    clock = Clock(arguments.seconds, save_seconds=0.1 + 4 * parameters / 2e8)  # 200 MB/s to disk: a guess
    begun = reported = clock.elapsed()
    step, smoothed, smoothing = 0, 0.0, 0.0
    while arguments.max_steps is None or step < arguments.max_steps:
        elapsed = clock.elapsed()
        progress = elapsed / arguments.seconds if arguments.max_steps is None else step / arguments.max_steps

        # 2a. Gradient of one batch, in pieces that fit in memory
        try:
            loss = 0.0  # nats per token
            for piece in windows.draw(B).split(micro):
                clock.check()
                tokens = piece.to(device)
                logits = model(tokens[:, :-1])  # (micro, T, V)
                nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum") / (B * T)
                nats.backward()
                loss += nats.item()
        except OutOfTime:
            break  # an unfinished step is dropped
        if not math.isfinite(loss):
            return model, step, step * B * T, "diverged"

        # 2b. Step
        now = clock.elapsed()
        last_step = arguments.max_steps is not None and step + 1 == arguments.max_steps
        due = now - reported >= 1.0 or step == 0 or last_step
        clip = config["gradient_clip"]
        norm = nn.utils.clip_grad_norm_(weights, clip or math.inf).item() if clip or due else None
        for optimizer_step in optimizers:
            optimizer_step(learning_rate_factor(config, progress))
        for weight in weights:
            weight.grad = None
        step += 1

        # 2c. Report
        smoothed, smoothing = 0.95 * smoothed + 0.05 * loss, 0.95 * smoothing + 0.05
        if due:
            reported = now
            report(step, now, begun, step * B * T, smoothed / smoothing, norm, device)

    # 3. The last word, unless it was said just now
    if step == 0:
        raise SystemExit(f"not one step of this config fits into {arguments.seconds:g} s on this machine")
    if arguments.max_steps != step:
        report(step, clock.elapsed(), begun, step * B * T, smoothed / smoothing, None, device)
    return model, step, step * B * T, "trained"


def report(step, seconds, begun, tokens, train_loss, gradient_norm, device):
    emit(
        "progress",
        step=step,
        seconds=round(seconds, 3),
        tokens=tokens,
        train_loss=train_loss,
        gradient_norm=gradient_norm,
        tokens_per_second=round(tokens / max(seconds - begun, 1e-9)),
        peak_memory_bytes=peak_memory_bytes(device),
    )


def is_out_of_memory(error):
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def main():
    parser = argparse.ArgumentParser(description="Train a small GPT for a fixed number of seconds.")
    parser.add_argument("--config", required=True, help="JSON file with the training config")
    parser.add_argument("--train", required=True, help="shard of training tokens")
    parser.add_argument("--seconds", type=float, required=True, help="wall time, saving included")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, help="directory for weights.safetensors")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--vocab-size", type=int, default=256)
    parser.add_argument("--max-steps", type=int, default=None, help="stop after this many; progress counts steps")
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here; use --device cpu")
    device = torch.device(arguments.device)
    with open(arguments.config) as file:
        config = json.load(file)

    try:
        model, steps, tokens, outcome = train(config, arguments, device)
        if outcome == "trained":
            save_model(model, os.path.join(arguments.out, "weights.safetensors"))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        emit("end", outcome="out_of_memory", steps=0, tokens=0, reason=str(error).splitlines()[0][:200])
        sys.exit(OUT_OF_MEMORY)
    reason = "the loss is not a finite number" if outcome == "diverged" else ""
    emit("end", outcome=outcome, steps=steps, tokens=tokens, reason=reason)
    sys.exit(DIVERGED if outcome == "diverged" else 0)


if __name__ == "__main__":
    main()
