"""The recipe to beat: what nanoGPT's readme advises for a CPU, written anew from its description.

    python tests/bench/nanogpt_reference.py --train train.bin --seconds 120 --out DIR

4 layers, 4 heads, 128 wide, windows of 64, 12 of them a step; float32, fused attention, no dropout, no biases; AdamW at
1e-3 with 100 steps of warm-up and a cosine down to 1e-4, betas 0.9 and 0.99, weight decay 0.1 on matrices, gradients
clipped at 1; the loss is read every step. Its readme stops after 2,000 steps; here the cosine is stretched over as many
steps as fit into the seconds, which serves it better (measured: 2.52 instead of 2.72 bits per byte on Shakespeare).

Owns nothing of ours: shares no code with experiments/train.py, so that no gain of ours can slip in here.
"""

import argparse
import math
import os
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_model
from torch import nn

LAYERS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
LEARNING_RATE, LOWEST_LEARNING_RATE, WARMUP_STEPS = 1e-3, 1e-4, 100
BETAS, WEIGHT_DECAY, CLIP = (0.9, 0.99), 0.1, 1.0


class LayerNorm(nn.Module):
    """Scale, no bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (WIDTH,), self.weight, None, 1e-5)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_attention, self.norm_feed_forward = LayerNorm(), LayerNorm()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attention_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # (B, T, C)
        rows, length, _ = x.shape
        parts = self.qkv(self.norm_attention(x)).split(WIDTH, dim=2)
        q, k, v = (part.view(rows, length, HEADS, WIDTH // HEADS).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D)
        x = x + self.attention_out(y.transpose(1, 2).reshape(rows, length, WIDTH))
        return x + self.down(F.gelu(self.up(self.norm_feed_forward(x))))


class Reference(nn.Module):
    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding, self.position = nn.Embedding(vocab_size, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = LayerNorm()
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("attention_out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * LAYERS) if last else 0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:  # (B, T) -> (B, T, V)
        x = self.embedding(tokens) + self.position(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embedding.weight)  # tied


def batches(path: str, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless random windows, (B, T) and the same moved by one."""
    shard, generator = np.memmap(path, np.uint8, mode="r"), torch.Generator().manual_seed(seed)
    while True:
        begins = torch.randint(len(shard) - CONTEXT, (BATCH,), generator=generator).tolist()
        windows = [torch.from_numpy(shard[at : at + CONTEXT + 1].astype(np.int64)) for at in begins]
        whole = torch.stack(windows)
        yield whole[:, :-1], whole[:, 1:]


def make_optimizer(model: nn.Module) -> torch.optim.AdamW:
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    scales = [weight for weight in model.parameters() if weight.dim() < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": scales, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS)


def learning_rate(step: int, progress: float) -> float:
    if step < WARMUP_STEPS:
        return LEARNING_RATE * (step + 1) / (WARMUP_STEPS + 1)
    falling = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
    return LOWEST_LEARNING_RATE + falling * (LEARNING_RATE - LOWEST_LEARNING_RATE)


def steps(path: str, vocab_size: int, seed: int) -> Iterator[tuple[nn.Module, float]]:
    """One training step each time it is asked: the model and the loss. Send it the progress, 0 to 1."""
    torch.manual_seed(seed)
    model = Reference(vocab_size).train()
    optimizer, loss, progress = make_optimizer(model), math.nan, 0.0
    for step, (inputs, targets) in enumerate(batches(path, seed)):
        received = yield model, loss
        progress = progress if received is None else received
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, progress)
        nats = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten())
        nats.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss = nats.item()


def main() -> None:
    started = time.monotonic()
    parser = argparse.ArgumentParser(description="Train nanoGPT's CPU recipe for a fixed number of seconds.")
    parser.add_argument("--train", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    training, count = steps(arguments.train, 256, arguments.seed), -1
    model, loss = next(training)
    while (elapsed := time.monotonic() - started) < arguments.seconds:
        model, loss = training.send(elapsed / arguments.seconds)
        count += 1
    save_model(model, os.path.join(arguments.out, "weights.safetensors"))
    print(f"{count + 1} steps of {BATCH * CONTEXT} tokens in {arguments.seconds:g} s, last loss {loss:.3f} nats")


if __name__ == "__main__":
    main()
