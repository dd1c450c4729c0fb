"""Honest ways for a position to look at those before it: attentions, convolutions, recurrences."""

from redteam.kit import rebuilt

_HEADWISE = """
class Mix(Mix):
    def forward(self, x):
        q, k, v = self.split(x)
        B, H, T, D = q.shape
        {}
        return self.merge(y)
"""


def headwise(body: str) -> str:
    """Another computation with the same queries, keys and values."""
    return rebuilt(_HEADWISE.format(body.strip().replace("\n", "\n        ")))


def mixer(init: str, forward: str) -> str:
    """No attention at all: its own weights and its own way over positions. x and result (B, T, C)."""
    lines = "class Mix(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
    lines += "        C = config['width']\n"
    lines += "".join(f"        {line}\n" for line in init.strip().splitlines())
    lines += "    def forward(self, x):\n        B, T, C = x.shape\n"
    return rebuilt(lines + "".join(f"        {line}\n" for line in forward.strip().splitlines()))


ATTENTIONS = {
    "attention of the kit": rebuilt(""),
    "fused attention": headwise("y = F.scaled_dot_product_attention(q, k, v, is_causal=True)"),
    "attention with a boolean mask": headwise("""
allowed = torch.ones(T, T, dtype=torch.bool).tril()
y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
"""),
    "sliding window of 8": headwise("""
near = torch.ones(T, T, dtype=torch.bool).tril() & ~torch.ones(T, T, dtype=torch.bool).tril(-8)
y = torch.softmax((q @ k.mT * D**-0.5).masked_fill(~near, -1e9), -1) @ v
"""),
    "dilated window": headwise("""
back = torch.arange(T)[:, None] - torch.arange(T)
y = torch.softmax((q @ k.mT * D**-0.5).masked_fill((back < 0) | (back % 2 == 1), -math.inf), -1) @ v
"""),
    "ALiBi": headwise("""
back = (torch.arange(T)[:, None] - torch.arange(T)).clamp(min=0)
slopes = 2.0 ** -torch.arange(1, H + 1)
y = self.weigh(q @ k.mT * D**-0.5 - slopes[:, None, None] * back) @ v
"""),
    "grouped queries": headwise("""
k, v = (part[:, : max(1, H // 2)].repeat_interleave(H // max(1, H // 2), 1) for part in (k, v))
y = self.weigh(q @ k.mT * D**-0.5) @ v
"""),
    "one key head for all": headwise("y = self.weigh(q @ k[:, :1].mT * D**-0.5) @ v[:, :1]"),
    "normalised queries and keys": headwise("y = self.weigh(normed(q) @ normed(k).mT * 3) @ v"),
    "softcapped scores": headwise("y = self.weigh(20 * torch.tanh(q @ k.mT * D**-0.5 / 20)) @ v"),
    "sigmoid attention": headwise("y = torch.sigmoid(q @ k.mT * D**-0.5 - 3.0) * torch.ones(T, T).tril() @ v"),
    "softmax plus one": headwise("""
scores = F.pad(causal(q @ k.mT * D**-0.5), (1, 0))
y = torch.softmax(scores, -1)[..., 1:] @ v
"""),
    "relu attention over counts": headwise("""
weights = F.relu(q @ k.mT * D**-0.5) * torch.ones(T, T).tril()
y = weights / torch.arange(1, T + 1)[:, None] @ v
"""),
    "linear attention by sums": headwise("""
q, k = F.elu(q) + 1, F.elu(k) + 1
state = (k[..., :, None] * v[..., None, :]).cumsum(2)  # (B, H, T, D, D)
y = (q[..., None, :] @ state).squeeze(-2) / (q * k.cumsum(2)).sum(-1, keepdim=True).clamp(min=1e-3)
"""),
    "retention that decays": headwise("""
back = torch.arange(T)[:, None] - torch.arange(T)
decay = (0.9 ** back.clamp(min=0)) * (back >= 0)
y = (q @ k.mT * D**-0.5 * decay) @ v
"""),
    "delta rule, step by step": headwise("""
k, state, ys = F.normalize(k, dim=-1), torch.zeros(B, H, D, D), []
for t in range(T):
    key, value = k[:, :, t, :, None], v[:, :, t, None, :]
    state = state + key * (value - key.mT @ state) / 2
    ys.append(q[:, :, t, None, :] @ state)
y = torch.cat(ys, 2)
"""),
    "two softmaxes, one subtracted": headwise("""
(a, b), (c, d) = q.chunk(2, -1), k.chunk(2, -1)
y = (self.weigh(a @ c.mT) - 0.3 * self.weigh(b @ d.mT)) @ v
"""),
    "values of the first position added": headwise("y = self.weigh(q @ k.mT * D**-0.5) @ v + 0.1 * v[:, :, :1]"),
    "rotary positions": headwise("""
angle = torch.arange(T)[:, None] * 100.0 ** (-torch.arange(0, D, 2) / D)
def turn(x):
    a, b = x.chunk(2, -1)
    return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1)
y = self.weigh(turn(q) @ turn(k).mT * D**-0.5) @ v
"""),
    "attention computed in strips of queries": headwise("""
strips = []
for at in range(0, T, 8):
    scores = q[:, :, at : at + 8] @ k[:, :, : at + 8].mT * D**-0.5
    later = torch.arange(scores.shape[-1]) > torch.arange(at, min(at + 8, T))[:, None]
    strips.append(torch.softmax(scores.masked_fill(later, -math.inf), -1) @ v[:, :, : at + 8])
y = torch.cat(strips, 2)
"""),
    "attention to chunks before and within": headwise("""
chunk = torch.arange(T) // 8
allowed = (chunk[:, None] == chunk) | (chunk[:, None] == chunk + 1)
y = self.weigh((q @ k.mT * D**-0.5).masked_fill(~allowed, -math.inf)) @ v
"""),
    "only the four best keys": headwise("""
scores = causal(q @ k.mT * D**-0.5)
least = scores.topk(min(4, T), -1).values[..., -1:]
y = torch.softmax(scores.masked_fill(scores < least, -math.inf), -1) @ v
"""),
    "queries and keys from the token before": headwise("""
k, v = (F.pad(part, (0, 0, 1, 0))[:, :, :-1] for part in (k, v))
y = self.weigh(q @ k.mT * D**-0.5) @ v
"""),
}
MIXERS = {
    "depthwise convolution": mixer(
        "self.conv = nn.Conv1d(C, C, 4, groups=C)", "return self.conv(F.pad(x.mT, (3, 0))).mT"
    ),
    "gated convolution, dilated": mixer(
        "self.conv = nn.Conv1d(C, 2 * C, 3, dilation=4)", "return F.glu(self.conv(F.pad(x.mT, (8, 0))).mT, -1)"
    ),
    "convolution padded on both sides, then cut": mixer(
        "self.conv = nn.Conv1d(C, C, 5, padding=4)", "return self.conv(x.mT)[..., :T].mT"
    ),
    "long convolution by Fourier transform": mixer(
        "self.kernel = nn.Parameter(torch.randn(C, 64) * 0.1)",
        """
kernel = F.pad(self.kernel, (0, 2 * T))[:, :T]
return torch.fft.irfft(torch.fft.rfft(x.mT, 2 * T) * torch.fft.rfft(kernel, 2 * T), 2 * T)[..., :T].mT
""",
    ),
    "token shift": mixer(
        "self.share, self.out = nn.Parameter(torch.rand(C)), nn.Linear(C, C)",
        "return self.out(x.lerp(F.pad(x, (0, 0, 1, 0))[:, :-1], self.share))",
    ),
    "GRU": mixer("self.gru = nn.GRU(C, C, batch_first=True)", "return self.gru(x)[0]"),
    "LSTM": mixer("self.lstm = nn.LSTM(C, C, batch_first=True)", "return self.lstm(x)[0]"),
    "moving average, step by step": mixer(
        "self.decay, self.out = nn.Parameter(torch.randn(C)), nn.Linear(C, C)",
        """
state, states, decay = torch.zeros(B, C), [], torch.sigmoid(self.decay)
for t in range(T):
    state = decay * state + (1 - decay) * x[:, t]
    states.append(state)
return self.out(torch.stack(states, 1))
""",
    ),
    "gated recurrence by prefix sums": mixer(
        "self.gates, self.out = nn.Linear(C, 2 * C), nn.Linear(C, C)",
        """
gate, value = self.gates(x).chunk(2, -1)
total = F.logsigmoid(gate).cumsum(1)  # log of the product of all gates up to here
state = (torch.logcumsumexp(F.logsigmoid(-gate) - total + F.logsigmoid(value), 1) + total).exp()
return self.out(state)
""",
    ),
    "selective state space": mixer(
        "self.steps, self.io, self.out = nn.Linear(C, C), nn.Linear(C, 16), nn.Linear(C, C)\n"
        "self.rates = nn.Parameter(torch.rand(C, 8))",
        """
delta, (b, c) = F.softplus(self.steps(x)), self.io(x).chunk(2, -1)
state, ys = torch.zeros(B, C, 8), []
for t in range(T):
    keep = torch.exp(-delta[:, t, :, None] * self.rates.exp())
    state = keep * state + (delta[:, t] * x[:, t])[..., None] * b[:, t, None]
    ys.append((state * c[:, t, None]).sum(-1))
return self.out(torch.stack(ys, 1))
""",
    ),
    "mean of all before": mixer(
        "self.out = nn.Linear(C, C)", "return self.out(x.cumsum(1) / torch.arange(1, T + 1)[:, None])"
    ),
    "greatest of all before": mixer("self.out = nn.Linear(C, C)", "return self.out(x.cummax(1).values)"),
    "learned lower triangle": mixer(
        "self.mixing = nn.Parameter(torch.randn(512, 512) * 0.02)", "return self.mixing[:T, :T].tril() @ x"
    ),
    "pooled chunks of the past": mixer(
        "self.near, self.far = nn.Linear(C, C), nn.Linear(C, C)",
        """
chunks = F.avg_pool1d(F.pad(x.mT, (0, -T % 8)), 8)  # a chunk is used only after its end
before = F.pad(chunks, (1, 0)).repeat_interleave(8, -1)[..., :T].mT
return self.near(x) + self.far(before)
""",
    ),
    "no mixing at all": mixer("self.out = nn.Linear(C, C)", "return self.out(x)"),
}
