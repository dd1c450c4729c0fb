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
import copy  # noqa: E402
import gc  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402
from concurrent.futures import ThreadPoolExecutor  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from safetensors.torch import save_model  # noqa: E402
from torch import nn  # noqa: E402

MUON_MOMENTUM = 0.95
MICRO_TOKENS = {"cpu": 4096, "cuda": 65536}  # tokens per forward pass; bounds memory and the time between clock checks
MANUAL_ATTENTION_MAX = 256  # tokens; up to here plain matrix products beat fused attention on a CPU (measured)
MAX_WEIGHTS = 62 * 2**20 // 4  # numbers of float32 that a model may have; who measures refuses above 64 MiB
HASH_PRIME = 0x9E3779B1  # odd and large: spreads neighbouring n-grams over the rows of their table
COMPILE_SECONDS = 120  # budgets below are too short for what compiling takes on a GPU; a guess
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}  # dense bf16, data sheets
MAX_LANES = 8  # threads that share out a batch; a guess, measured with 2
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
        self.kind, self.shape = config["norm"], (config["width"],)
        self.weight = None if self.kind == "plain" else nn.Parameter(torch.ones(self.shape))
        self.bias = nn.Parameter(torch.zeros(self.shape)) if self.kind == "layernorm" else None

    def forward(self, x):  # (B, T, C)
        weight, bias = (None if part is None else part.to(x.dtype) for part in (self.weight, self.bias))
        if self.kind == "rmsnorm":
            return F.rms_norm(x, self.shape, weight)
        return F.layer_norm(x, self.shape, weight, bias)


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.qk_norm = config["heads"], config["qk_norm"]
        self.qkv = Matrices(3, config["width"], config["width"])
        self.out = Matrices(1, config["width"], config["width"])

    def forward(self, x, rotation, mask):
        B, T, C = x.shape
        H, D = self.heads, C // self.heads
        qkv = self.qkv(x).view(B, T, 3, H, D).permute(2, 0, 3, 1, 4).contiguous()
        qk, v = qkv.split((2, 1))  # (2, B, H, T, D), (1, B, H, T, D): what is done to q and k is done at once
        if rotation is not None:
            qk = rotate(qk, *rotation)
        if self.qk_norm:
            qk = F.layer_norm(qk, (D,))  # RMSNorm has no kernel of its own on a CPU: ten times slower (measured)
        q, k = qk.unbind()
        if mask is None:
            y = F.scaled_dot_product_attention(q, k, v[0], is_causal=True)  # (B, H, T, D)
        else:
            q, k, v = (part.view(B * H, T, D) for part in (q, k, v))
            scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=D**-0.5)  # (B*H, T, T)
            y = torch.bmm(torch.softmax(scores, dim=-1), v).view(B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, C))


def rotate(x, cos, sin):  # (..., T, D), (T, D), (T, D) with the first half of each row of sin negative
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


class SquaredRelu(torch.autograd.Function):
    """relu(x) ** 2 with a backward pass of two operations; what autograd makes of it takes five."""

    @staticmethod
    def forward(ctx, x):
        positive = F.relu(x)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    def backward(ctx, gradient):
        (positive,) = ctx.saved_tensors
        return (gradient * positive).mul_(2)


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
        return self.out(SquaredRelu.apply(x) if self.activation == "relu2" else F.gelu(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.dropout = config["dropout"]
        self.norm_attention, self.attention = Norm(config), Attention(config)
        self.norm_feed_forward, self.feed_forward = Norm(config), FeedForward(config)
        self.again = nn.Parameter(torch.zeros(config["width"])) if config["embedding_residual"] else None

    def forward(self, x, embedded, rotation, mask):  # (B, T, C), (B, T, C)
        if self.again is not None:
            x = torch.addcmul(x, embedded, self.again.to(x.dtype))
        x = x + self._drop(self.attention(self.norm_attention(x), rotation, mask))
        return x + self._drop(self.feed_forward(self.norm_feed_forward(x)))

    def _drop(self, x):
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class NgramEmbedding(nn.Module):
    """A vector for each of the last 2, 3, ... `order` tokens, summed. N-grams share rows where their hashes collide."""

    def __init__(self, order, rows, width):
        super().__init__()
        self.order, self.rows = order, rows
        self.table = nn.Parameter(torch.zeros((order - 1) * rows, width))

    def forward(self, tokens):  # (B, T) -> (B, T, C); tokens before the window count as 0
        hashed, indices = tokens, []
        for back in range(1, self.order):
            hashed = hashed * HASH_PRIME + F.pad(tokens, (back, 0))[:, : tokens.shape[1]] + 1
            mixed = (hashed ^ (hashed >> 29)) * HASH_PRIME  # integers wrap around
            indices.append((mixed >> 20) % self.rows + (back - 1) * self.rows)
        index = torch.stack(indices, dim=-1).view(-1, self.order - 1)  # (B*T, order - 1)
        summed = F.embedding_bag(index, self.table, mode="sum", sparse=self.training)
        return summed.view(*tokens.shape, -1)


class GPT(nn.Module):
    def __init__(self, config, vocab_size):
        super().__init__()
        width, context = config["width"], config["context"]
        self.config = dict(config)
        self.embedding = nn.Parameter(torch.empty(vocab_size, width))
        self.position = nn.Parameter(torch.empty(context, width)) if config["positions"] == "learned" else None
        self.shift = nn.Parameter(torch.zeros(width)) if config["token_shift"] else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config["depth"]))
        self.norm = Norm(config)
        self.head = None if config["tied_embeddings"] else Matrices(1, width, vocab_size)
        self.ngrams, order = None, config["ngram_order"]
        if order > 1:
            room = MAX_WEIGHTS - sum(weight.numel() for weight in self.parameters())
            rows = max(1, min(config["ngram_rows"], room // ((order - 1) * width)))
            self.ngrams = NgramEmbedding(order, rows, width)
        self._tables = {}  # constants per device and precision, no weights
        self._init_weights()

    def _init_weights(self):
        init, depth = self.config["init"], self.config["depth"]
        for name, module in self.named_modules():
            if not isinstance(module, Matrices):
                continue
            output = name.endswith(".out")  # of an attention or a feed-forward, into the residual stream
            for weight in module.weight.data:  # (outputs, inputs)
                if init == "kaiming":
                    nn.init.kaiming_normal_(weight, nonlinearity="relu")
                elif init == "xavier":
                    nn.init.xavier_uniform_(weight)
                elif init == "scaled":  # the residual stream does not grow with depth
                    nn.init.normal_(weight, std=0.02 / math.sqrt(2 * depth) if output else 0.02)
                elif init == "zero_output" and (output or name == "head"):  # each block begins as doing nothing
                    nn.init.zeros_(weight)
                else:
                    nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)
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
                cos, sin = angle.cos(), angle.sin()
                rotation = (torch.cat((cos, cos), 1).to(dtype), torch.cat((-sin, sin), 1).to(dtype))
            if device.type == "cpu" and T <= MANUAL_ATTENTION_MAX:
                mask = torch.full((T, T), -math.inf, dtype=dtype, device=device).triu(1)
            self._tables[key] = (rotation, mask)
        return self._tables[key]

    def embed(self, tokens):  # (B, T) integers -> (B, T, C)
        x = F.embedding(tokens, self.embedding)
        if self.ngrams is not None:
            x = x + self.ngrams(tokens)
        if self.position is not None:
            x = x + self.position[: tokens.shape[1]]
        x = x.to(compute_dtype(tokens.device))
        if self.shift is not None:  # each token sees a share of the one before it
            x = torch.addcmul(x, F.pad(x, (0, 0, 1, 0))[:, :-1], self.shift.to(x.dtype))
        if self.config["dropout"]:
            x = F.dropout(x, self.config["dropout"], self.training)
        return x

    def predict(self, x):  # (B, T, C) -> logits (B, T, V) float32
        rotation, mask = self._constants(x.shape[1], x.device, x.dtype)
        if self.config["embedding_norm"]:
            x = F.layer_norm(x, x.shape[-1:])
        embedded = x
        for block in self.blocks:
            x = block(x, embedded, rotation, mask)  # (B, T, C)
        x = self.norm(x)
        logits = (F.linear(x, self.embedding.to(x.dtype)) if self.head is None else self.head(x)).float()
        cap = self.config["logit_softcap"]
        return cap * torch.tanh(logits / cap) if cap else logits

    def forward(self, tokens):  # (B, T) integers -> logits (B, T, V) float32
        return self.predict(self.embed(tokens))


def build_model(config: dict, vocab_size: int) -> nn.Module:
    """The model of a config, freshly initialised from torch's global seed."""
    return GPT(config, vocab_size)


# ---------------------------------------------------------------------------------------------------------------------
# Optimizers and schedule


class Stack:
    """Weights side by side in one float32 buffer, their gradients in another: a step is a few large operations."""

    def __init__(self, names, weights):
        self.names, self.shape = names, weights[0].shape[-2:]
        self.values = torch.cat([weight.detach().flatten() for weight in weights])
        self.gradient = torch.zeros_like(self.values)
        sizes = [weight.numel() for weight in weights]
        for weight, part in zip(weights, self.values.split(sizes), strict=True):
            weight.data = part.view_as(weight)
        pairs = zip(weights, self.gradient.split(sizes), strict=True)
        self.gradients = [part.view_as(weight) for weight, part in pairs]


class AdamW:
    """For everything that is no matrix inside the blocks, and without Muon for those, too."""

    def __init__(self, stacks, rates, decays, betas):
        groups = []
        for stack, rate, decay in zip(stacks, rates, decays, strict=True):
            flat = nn.Parameter(stack.values)
            flat.grad = stack.gradient
            groups.append({"params": [flat], "lr": rate, "weight_decay": decay})
        self.rates = rates
        self.adamw = torch.optim.AdamW(groups, betas=betas, fused=True)

    def step(self, factor):
        for group, rate in zip(self.adamw.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.adamw.step()


class Muon:
    """Momentum, then the nearest orthogonal matrix as the step. For the matrices inside the blocks."""

    def __init__(self, stacks, learning_rate, weight_decay, dtype):
        self.stacks, self.learning_rate, self.weight_decay, self.dtype = stacks, learning_rate, weight_decay, dtype
        self.momenta = [torch.zeros_like(stack.values) for stack in stacks]

    @torch.no_grad()
    def step(self, factor):
        rate = self.learning_rate * factor
        for stack, momentum in zip(self.stacks, self.momenta, strict=True):
            rows, columns = stack.shape
            momentum.lerp_(stack.gradient, 1 - MUON_MOMENTUM)
            update = stack.gradient.lerp_(momentum, MUON_MOMENTUM)  # Nesterov
            direction = orthogonalise(update.view(-1, rows, columns).to(self.dtype)).flatten()
            if self.weight_decay:
                stack.values.mul_(1 - rate * self.weight_decay)
            stack.values.add_(direction, alpha=-rate * max(1.0, rows / columns) ** 0.5)


class SparseAdagrad:
    """Moves only the rows that were looked up, each slower the more often it was. For the n-gram table."""

    def __init__(self, table, learning_rate):
        self.table, self.learning_rate = table, learning_rate
        self.squares = torch.zeros(len(table), device=table.device)  # mean square gradients of each row, summed

    @torch.no_grad()
    def step(self, factor):
        gradient = self.table.grad.coalesce()
        rows, values = gradient.indices()[0], gradient.values()  # (R,), (R, C)
        squares = self.squares[rows] + values.square().mean(dim=1)
        self.squares[rows] = squares
        step = values * (squares + 1e-20).rsqrt()[:, None]
        self.table.index_add_(0, rows, step, alpha=-self.learning_rate * factor)
        self.table.grad = None


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
    """Optimizers, whose step(factor) moves weights at `factor` times their learning rate; and their stacks."""
    matrices, heads, embeddings, others = {}, [], [], []  # names; matrices by shape
    for name, weight in model.named_parameters():
        if name in ("embedding", "position"):
            embeddings.append(name)
        elif name.startswith("head."):
            heads.append(name)
        elif weight.dim() == 3:
            matrices.setdefault(weight.shape[1:], []).append(name)
        elif not name.startswith("ngrams."):
            others.append(name)

    def stacked(names):
        return Stack(names, [model.get_parameter(name) for name in names])

    rate, decay = config["learning_rate"], config["weight_decay"]
    inside = [stacked(names) for names in matrices.values()]
    groups = [(embeddings, rate * config["embedding_lr_multiplier"], 0.0)]
    groups += [(heads, rate * config["head_lr_multiplier"], decay), (others, rate, 0.0)]
    groups = [(stacked(names), rate, decay) for names, rate, decay in groups if names]
    optimizers = []
    if config["optimizer"] == "muon":
        optimizers.append(Muon(inside, config["muon_learning_rate"], decay, compute_dtype(device)))
    else:
        groups += [(stack, rate, decay) for stack in inside]
    stacks, rates, decays = zip(*groups, strict=True)
    optimizers.append(AdamW(stacks, rates, decays, (config["adam_beta1"], config["adam_beta2"])))
    if model.ngrams is not None:
        optimizers.append(SparseAdagrad(model.ngrams.table, config["ngram_learning_rate"]))
    return optimizers, [*stacks, *(inside if config["optimizer"] == "muon" else [])]


class Worker:
    """The copy of a model that computes: matrices and norms in the compute precision, made anew after each step.

    Its gradients go to the stacks of the model, which has the same weights in float32 and is what is saved. On a CPU
    the windows of a batch are shared out to lanes, threads that compute at the same time with one core or a few each:
    cheaper than to have all cores meet after every small operation, and much cheaper when one of them is busy.
    """

    def __init__(self, model, stacks, device, lanes):
        tables = [] if model.ngrams is None else [model.ngrams.table]  # too large to copy
        self.model = copy.deepcopy(model, {id(table): table for table in tables})
        names = [name for stack in stacks for name in stack.names]
        self.weights = [self.model.get_parameter(name) for name in names]
        self.sources = [model.get_parameter(name).detach() for name in names]
        self.gradients = [gradient for stack in stacks for gradient in stack.gradients]
        self.tables = tables
        for name, weight in zip(names, self.weights, strict=True):
            if name not in ("embedding", "position"):  # their gradients are sums over many tokens
                weight.data = weight.data.to(compute_dtype(device))
        threads = max(1, torch.get_num_threads() // lanes)
        self.pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(threads,))
        self.map = map if lanes == 1 else self.pool.map

    def gradient(self, tokens, count):  # (b, T + 1) -> share of the mean loss of `count` tokens, gradients
        logits = self.model(tokens[:, :-1])  # (b, T, V)
        nats = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="sum") / count
        return nats.detach(), torch.autograd.grad(nats, self.weights + self.tables)

    def add_gradients(self, pieces, count, first):
        """Of several pieces of a batch, in their order whatever ends first. Their share of the loss."""
        loss = 0.0
        for nats, gradients in self.map(self.gradient, pieces, [count] * len(pieces)):
            whole, sparse = gradients[: len(self.weights)], gradients[len(self.weights) :]
            if first:
                torch._foreach_copy_(self.gradients, whole)
            else:
                torch._foreach_add_(self.gradients, whole)
            for table, rows in zip(self.tables, sparse, strict=True):
                table.grad = rows if first else table.grad + rows
            loss, first = loss + nats.item(), False
        return loss

    @torch.no_grad()
    def take_weights(self):
        torch._foreach_copy_(self.weights, self.sources)


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
        return max(0.0, min(1.0, (1.0 - progress) / config["cooldown_fraction"]))
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


def compile_if_possible(model, tokens):
    """Compiles the model's dense part, and says whether that worked: where no compiler can run, it stays as it is."""
    compiled = torch.compile(model.predict)
    try:
        compiled(model.embed(tokens)).sum().backward()
    except (RuntimeError, OSError) as error:  # no compiler, or none may be started here
        if is_out_of_memory(error):
            raise
        return False
    finally:
        model.zero_grad()
    model.predict = compiled
    return True


def model_flops_per_token(model, config):
    """Forward and backward: six for each weight of a matrix product, and attention's over the whole window."""
    weights = sum(module.weight.numel() for module in model.modules() if isinstance(module, Matrices))
    weights += model.embedding.numel() if model.head is None else 0
    return 6 * weights + 12 * config["depth"] * config["width"] * config["context"]


def peak_flops(device):
    """What the device does at best, by its name; None when that is not known."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    known = [key for key in PEAK_FLOPS if key in name]
    return PEAK_FLOPS[max(known, key=len)] if known else None


def read_pace(path):
    """Steps, and how far the schedule was in each, of a run that is to be repeated: [[step, progress], ...]."""
    with open(path) as file:
        return tuple(zip(*json.load(file), strict=True))


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
    parameters = sum(weight.numel() for weight in model.parameters())
    optimizers, stacks = make_optimizers(model, config, device)
    B, T = config["batch_size"], config["context"]
    alone = device.type == "cuda" or config["dropout"]  # lanes would draw from one random generator in any order
    lanes = 1 if alone else min(B, torch.get_num_threads(), MAX_LANES)
    worker = Worker(model, stacks, device, lanes)
    windows = Windows(arguments.train, arguments.vocab_size, T, arguments.seed)
    micro = max(1, min(-(-B // lanes), MICRO_TOKENS[device.type] // T))  # windows per forward pass
    compiled = False
    if device.type == "cuda" and arguments.seconds >= COMPILE_SECONDS:
        compiled = compile_if_possible(worker.model, windows.draw(micro)[:, :-1].to(device))
    peak = peak_flops(device)
    tokens_for_full_use = peak and peak / model_flops_per_token(model, config)  # per second
    emit("start", parameters=parameters, device=device.type, threads=torch.get_num_threads(), compiled=compiled)
    gc.collect()
    gc.freeze()  # what is here stays; a collection never looks at it again

    # 2. Go, until the clock or the number of steps says stop
    clock = Clock(arguments.seconds, save_seconds=0.1 + 4 * parameters / 2e8)  # 200 MB/s to disk: a guess
    begun = reported = clock.elapsed()
    pace = None if arguments.pace is None else read_pace(arguments.pace)
    report_at = set() if pace is None else set(pace[0])
    step, reached, smoothed, smoothing = 0, 0.0, 0.0, 0.0
    while arguments.max_steps is None or step < arguments.max_steps:
        elapsed = clock.elapsed()
        if pace is not None:
            progress = float(np.interp(step + 1, *pace))
        else:
            progress = elapsed / arguments.seconds if arguments.max_steps is None else step / arguments.max_steps

        # 2a. Gradient of one batch, in pieces that fit in memory
        try:
            loss = 0.0  # nats per token
            pieces = windows.draw(B).to(device).split(micro)  # (micro, T + 1) each
            for at in range(0, len(pieces), lanes):
                clock.check()
                loss += worker.add_gradients(pieces[at : at + lanes], B * T, first=at == 0)
        except OutOfTime:
            break  # an unfinished step is dropped
        if not math.isfinite(loss):
            return model, step, step * B * T, "diverged"

        # 2b. Step
        now = clock.elapsed()
        last_step = arguments.max_steps is not None and step + 1 == arguments.max_steps
        due = now - reported >= 1.0 or step == 0 or last_step or step + 1 in report_at
        clip, norm = config["gradient_clip"], None
        if clip or due:
            norm = math.hypot(*(stack.gradient.norm().item() for stack in stacks))
        if clip and norm > clip:
            for stack in stacks:
                stack.gradient.mul_(clip / norm)
        for optimizer in optimizers:
            optimizer.step(learning_rate_factor(config, progress))
        worker.take_weights()
        step, reached = step + 1, progress

        # 2c. Report
        smoothed, smoothing = 0.95 * smoothed + 0.05 * loss, 0.95 * smoothing + 0.05
        if due:
            reported = now
            report(step, now, begun, reached, step * B * T, smoothed / smoothing, norm, device, tokens_for_full_use)

    # 3. The last word, unless it was said just now
    if step == 0:
        raise SystemExit(f"not one step of this config fits into {arguments.seconds:g} s on this machine")
    if arguments.max_steps != step:
        now = clock.elapsed()
        report(step, now, begun, reached, step * B * T, smoothed / smoothing, None, device, tokens_for_full_use)
    return model, step, step * B * T, "trained"


def report(step, seconds, begun, progress, tokens, train_loss, gradient_norm, device, tokens_for_full_use):
    tokens_per_second = tokens / max(seconds - begun, 1e-9)
    emit(
        "progress",
        step=step,
        seconds=round(seconds, 3),
        progress=progress,
        tokens=tokens,
        train_loss=train_loss,
        gradient_norm=gradient_norm,
        tokens_per_second=round(tokens_per_second),
        peak_memory_bytes=peak_memory_bytes(device),
        **({"mfu": round(tokens_per_second / tokens_for_full_use, 4)} if tokens_for_full_use else {}),
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
    parser.add_argument("--pace", default=None, help="JSON file of [step, progress] pairs to follow, not the clock")
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
            for weight in model.parameters():
                weight.data = weight.data.clone()  # out of its stack: safetensors saves no views
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
