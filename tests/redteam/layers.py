"""Honest changes of what stands around the mixing: layers of one position, norms, embeddings, heads."""

from redteam.kit import rebuilt

FEEDS = {
    "gated by silu": rebuilt("""
class Feed(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config["width"]
        self.up, self.down = nn.Linear(C, 6 * C), nn.Linear(3 * C, C)

    def forward(self, x):
        gate, x = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * x)
"""),
    "two experts of four for each token": rebuilt("""
class Feed(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config["width"]
        self.router = nn.Linear(C, 4)
        layers = [nn.Sequential(nn.Linear(C, 2 * C), nn.ReLU(), nn.Linear(2 * C, C)) for _ in range(4)]
        self.experts = nn.ModuleList(layers)

    def forward(self, x):
        flat = x.flatten(0, 1)
        weights, chosen = self.router(flat).softmax(-1).topk(2)
        out = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):  # none is ever full: no token depends on another one
            token, slot = (chosen == number).nonzero(as_tuple=True)
            out = out.index_add(0, token, expert(flat[token]) * weights[token, slot, None])
        return out.view_as(x)
"""),
    "all experts, softly": rebuilt("""
class Feed(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config["width"]
        self.router, self.up = nn.Linear(C, 4), nn.Parameter(torch.randn(4, C, C) * 0.1)

    def forward(self, x):
        return torch.einsum("btc,ecd,bte->btd", x, self.up, self.router(x).softmax(-1))
"""),
    "an expert for each byte": rebuilt("""
class Small(Small):
    def prepare(self, config, vocab_size):
        self.of_byte = nn.Embedding(vocab_size, config["width"])

    def embed(self, tokens):
        return super().embed(tokens) * (1 + self.of_byte(tokens))
"""),
    "maxout": rebuilt("""
class Feed(Feed):
    def forward(self, x):
        return self.down(self.up(x).unflatten(-1, (-1, 2)).amax(-1).repeat_interleave(2, -1))
"""),
    "attention and layer side by side": rebuilt("""
class Cell(Cell):
    def forward(self, x, *_):
        return x + self.mix(normed(x)) + self.feed(normed(x))
"""),
    "the same block four times": rebuilt("""
class Cell(Cell):
    def forward(self, x, *_):
        for _ in range(4):
            x = super().forward(x)
        return x
"""),
    "memory of learned keys": rebuilt("""
class Feed(nn.Module):
    def __init__(self, config):
        super().__init__()
        C = config["width"]
        self.keys, self.values = nn.Parameter(torch.randn(128, C) * 0.1), nn.Parameter(torch.randn(128, C) * 0.1)

    def forward(self, x):
        best, where = (x @ self.keys.T).topk(8)
        return (best.softmax(-1)[..., None] * self.values[where]).sum(-2)
"""),
    "skips over all blocks": rebuilt("""
class Small(Small):
    def forward(self, tokens):
        x = first = self.embed(tokens)
        for block in self.blocks:
            x = block(x) + 0.5 * first
        return self.answer(normed(x), tokens)
"""),
}
NORMS = {
    name: rebuilt(code)
    for name, code in {
        "no norm, smaller branches": "def normed(x):\n    return 0.2 * x",
        "norm by tanh": "def normed(x):\n    return torch.tanh(0.5 * x)",
        "norm by length": "def normed(x):\n    return F.normalize(x, dim=-1) * 3",
        "norm in groups of channels": "def normed(x):\n    return F.group_norm(x.flatten(0, 1), 4).view_as(x)",
        "norm by the greatest channel": "def normed(x):\n    return x / x.abs().amax(-1, keepdim=True).clamp(min=1e-6)",
        "norm after each branch": """
class Cell(Cell):
    def forward(self, x, *_):
        x = normed(x + self.mix(x))
        return normed(x + self.feed(x))
""",
        "batch norm of past batches": """
class Cell(Cell):
    def __init__(self, config):
        super().__init__(config)
        self.batch = nn.BatchNorm1d(config["width"])

    def forward(self, x, *_):
        return super().forward(self.batch(x.mT).mT)  # in eval mode by its stored averages
""",
        "norm of all positions so far": """
def normed(x):
    square = x.square().mean(-1, keepdim=True).cumsum(1) / torch.arange(1, x.shape[1] + 1)[:, None]
    return x * (square + 1e-6).rsqrt()
""",
    }.items()
}
# Whoever measures builds the model, too, and has no train shard: there the buffer comes with the weights.
_COUNTED = """
    def prepare(self, config, vocab_size):
        self.register_buffer("pairs", torch.zeros(vocab_size, vocab_size))
        if "--train" in sys.argv:
            text = np.fromfile(sys.argv[sys.argv.index("--train") + 1], np.uint8).astype(np.int64)
            counts = np.full((vocab_size, vocab_size), 0.1)
            np.add.at(counts, (text[:-1], text[1:]), 1.0)
            self.pairs += torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True))).float()

    def answer(self, x, tokens):
        return super().answer(x, tokens) + self.pairs[tokens]
"""
EMBEDDINGS = {
    name: rebuilt(f"class Small(Small):\n{code.strip(chr(10))}")
    for name, code in {
        "hashed pairs and triples of bytes": """
    def prepare(self, config, vocab_size):
        self.grams = nn.Embedding(4096, config["width"])

    def embed(self, tokens):
        back = [F.pad(tokens, (n, 0))[:, : tokens.shape[1]] for n in (0, 1, 2)]
        pair = (back[0] * 31 + back[1] * 7919) % 4096
        triple = (back[0] * 31 + back[1] * 7919 + back[2] * 104729) % 4096
        return super().embed(tokens) + self.grams(pair) + self.grams(triple)
""",
        "values from the embedding": """
    def prepare(self, config, vocab_size):
        self.values = nn.Embedding(vocab_size, config["width"])

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.blocks:
            x = block(x) + 0.1 * self.values(tokens)
        return self.answer(normed(x), tokens)
""",
        "kind of byte": """
    def prepare(self, config, vocab_size):
        self.kinds = nn.Embedding(4, config["width"])

    def embed(self, tokens):
        kind = (tokens >= 48).long() + (tokens >= 65) + (tokens >= 97)
        return super().embed(tokens) + self.kinds(kind)
""",
        "letters since the last space": """
    def prepare(self, config, vocab_size):
        self.since = nn.Embedding(33, config["width"])

    def embed(self, tokens):
        at = torch.arange(tokens.shape[1])
        last = torch.where(tokens == 32, at, 0).cummax(1).values
        return super().embed(tokens) + self.since((at - last).clamp(max=32))
""",
        "table of pairs under the model": _COUNTED,
        "embedding of small rank": """
    def prepare(self, config, vocab_size):
        self.low, self.wide = nn.Embedding(vocab_size, 8), nn.Linear(8, config["width"], bias=False)

    def embed(self, tokens):
        return super().embed(tokens) + self.wide(self.low(tokens))
""",
        "sines as positions": """
    def embed(self, tokens):
        T, C = tokens.shape[1], self.embedding.shape[1]
        angle = torch.arange(T)[:, None] / 50.0 ** (torch.arange(C) / C)
        return super().embed(tokens) + torch.where(torch.arange(C) % 2 == 0, angle.sin(), angle.cos())
""",
        "positions counted from the left of a batch row": """
    def embed(self, tokens):
        row = torch.arange(tokens.numel()).view_as(tokens) % tokens.shape[1]
        return F.embedding(tokens, self.embedding) + self.position[row]
""",
    }.items()
}
HEADS = {
    name: rebuilt(f"class Small(Small):\n{code.strip(chr(10))}")
    for name, code in {
        "tied head with a scale": """
    def answer(self, x, tokens):
        return super().answer(x, tokens) + F.linear(x, self.embedding) * 0.1
""",
        "softcapped": """
    def answer(self, x, tokens):
        return 15 * torch.tanh(super().answer(x, tokens) / 15)
""",
        "mixture of two softmaxes": """
    def prepare(self, config, vocab_size):
        self.second, self.share = nn.Linear(config["width"], vocab_size), nn.Linear(config["width"], 2)

    def answer(self, x, tokens):
        share = self.share(x).log_softmax(-1)
        first, second = super().answer(x, tokens).log_softmax(-1), self.second(x).log_softmax(-1)
        return torch.logaddexp(first + share[..., :1], second + share[..., 1:])
""",
        "copies from its own past": """
    def prepare(self, config, vocab_size):
        self.query, self.amount = nn.Linear(config["width"], config["width"]), nn.Parameter(torch.zeros(1))

    def answer(self, x, tokens):
        weights = torch.softmax(causal(self.query(x) @ x.mT * x.shape[-1] ** -0.5), -1)
        copied = weights @ F.one_hot(tokens, self.embedding.shape[0]).float()
        return super().answer(x, tokens) + self.amount * 5 * copied
""",
        "what followed the same byte before, in this window": """
    def answer(self, x, tokens):
        same = (tokens[:, :, None] == tokens[:, None, :]).float().tril(-1)  # (B, T, T): t looks like an earlier s
        followed = F.one_hot(tokens, self.embedding.shape[0]).float()[:, 1:]
        counts = same[:, :, :-1] @ followed  # what came after s is not later than t
        return super().answer(x, tokens) + torch.log1p(counts)
""",
        "probabilities turned back to logits": """
    def answer(self, x, tokens):
        return (super().answer(x, tokens).softmax(-1) * 0.99 + 0.01 / 256).log()
""",
        "bytes that never occur far down": """
    def answer(self, x, tokens):
        logits = super().answer(x, tokens).clone()
        logits[..., 200:] = -30.0
        return logits
""",
        "two halves of a byte": """
    def prepare(self, config, vocab_size):
        self.high, self.low = nn.Linear(config["width"], 16), nn.Linear(config["width"], 16)

    def answer(self, x, tokens):
        joint = self.high(x).log_softmax(-1)[..., :, None] + self.low(x).log_softmax(-1)[..., None, :]
        return super().answer(x, tokens) + joint.flatten(-2)
""",
    }.items()
}
