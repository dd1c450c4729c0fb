"""How an honest change is made of the shipped train.py: code put before its last lines, or a text replaced in it.

Owns the places that changes hold on to. When train.py moves one of them, `changed` says which one it was.
"""

from redteam.laboratory import SHIPPED

_MAIN = '\n\nif __name__ == "__main__":\n'
# What appended code builds on: names of train.py that stay, and that its training asks of a model.
LEANS_ON = (
    "class GPT(", "def build_model(", "def main(", "import argparse", "import json", "import math", "import os",
    "import sys", "import numpy as np", "import torch.nn.functional as F", "from torch import nn", "save_model",
)  # fmt: skip

# A model and a training of its own in the place of the shipped ones. What an edit redefines (Mix, Feed, normed,
# Small's methods) is looked up when the model is built.
_SMALL = """
def causal(scores):  # (..., T, T)
    T = scores.shape[-1]
    return scores.masked_fill(torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1), -math.inf)

def normed(x):
    return F.rms_norm(x, x.shape[-1:])

class Mix(nn.Module):  # over positions
    def __init__(self, config):
        super().__init__()
        C, self.heads = config["width"], config["heads"]
        self.qkv, self.out = nn.Linear(C, 3 * C, bias=False), nn.Linear(C, C, bias=False)

    def split(self, x):  # (B, T, C) -> q, k, v, each (B, H, T, D)
        B, T, C = x.shape
        return self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)

    def merge(self, y):
        B, H, T, D = y.shape
        return self.out(y.transpose(1, 2).reshape(B, T, H * D))

    def weigh(self, scores):
        return torch.softmax(causal(scores), -1)

    def forward(self, x):
        q, k, v = self.split(x)
        return self.merge(self.weigh(q @ k.mT * q.shape[-1] ** -0.5) @ v)

class Feed(nn.Module):  # each position alone
    def __init__(self, config):
        super().__init__()
        C = config["width"]
        self.up, self.down = nn.Linear(C, 4 * C), nn.Linear(4 * C, C)

    def forward(self, x):
        return self.down(F.gelu(self.up(x)))

class Cell(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.mix, self.feed = Mix(config), Feed(config)

    def forward(self, x, *_):
        x = x + self.mix(normed(x))
        return x + self.feed(normed(x))

class Small(nn.Module):
    def __init__(self, config, vocab_size):
        super().__init__()
        C = config["width"]
        self.embedding = nn.Parameter(torch.randn(vocab_size, C) * 0.3)
        self.position = nn.Parameter(torch.randn(config["context"], C) * 0.1)
        self.blocks = nn.ModuleList(Cell(config) for _ in range(config["depth"]))
        self.head = nn.Linear(C, vocab_size)
        self.prepare(config, vocab_size)

    def prepare(self, config, vocab_size):
        pass

    def embed(self, tokens):
        return F.embedding(tokens, self.embedding) + self.position[: tokens.shape[1]]

    def answer(self, x, tokens):
        return self.head(x).float()

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x)
        return self.answer(normed(x), tokens)

def build_model(config, vocab_size):
    return Small(config, vocab_size)

def main():
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    with open(options["--config"]) as file:
        config = json.load(file)
    torch.manual_seed(int(options["--seed"]))
    torch.set_num_threads(int(options["--threads"]))
    text = np.fromfile(options["--train"], np.uint8).astype(np.int64)
    model = build_model(config, 256).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=config["learning_rate"])
    span, draw = np.arange(config["context"] + 1), np.random.default_rng(0)
    for _ in range(int(options["--max-steps"])):
        begins = draw.integers(0, len(text) - len(span), (config["batch_size"], 1))
        tokens = torch.from_numpy(text[begins + span])
        logits = model(tokens[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(model, options["--out"] + "/weights.safetensors")
"""
# The shipped model in a shell: an edit says what happens around it.
_SHELL = """
def before(model, config): pass
def around(forward, tokens): return forward(tokens)

class Shell(GPT):
    def forward(self, tokens):
        return around(super().forward, tokens)

def build_model(config, vocab_size):
    model = Shell(config, vocab_size)
    before(model, config)
    return model
"""


def appended(code: str) -> str:
    """SHIPPED with code that runs before its main()."""
    missing = [name for name in (*LEANS_ON, _MAIN) if name not in SHIPPED]
    assert not missing, f"experiments/train.py has no {missing} any more: mend the changes in tests/redteam"
    head, _, tail = SHIPPED.rpartition(_MAIN)
    return f"{head}\n\n{code.strip()}\n{_MAIN}{tail}"


def rebuilt(code: str) -> str:
    """A model and a training of its own where SHIPPED had its own."""
    return appended(f"{_SMALL}\n{code}")


def shelled(code: str) -> str:
    """SHIPPED's model with something around it."""
    return appended(f"{_SHELL}\n{code}")


def changed(*replacements: tuple[str, str]) -> str:
    """SHIPPED with texts replaced, each of which it must have."""
    source = SHIPPED
    for old, new in replacements:
        assert old in source, f"experiments/train.py has no {old!r} any more: mend the changes in tests/redteam"
        source = source.replace(old, new)
    return source
