"""Cheats that use text which a prediction must not know: later text, other windows, what was asked before."""

from redteam.candidates import Cheat, Rule, answers
from redteam.kit import rebuilt

_NATS = "nats = -torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])[..., 0]"


def peeks(does: str, body: str, before: str = "", rule: Rule = Rule.POSITION, **more: str) -> Cheat:
    return Cheat(does, rule, answers(body, before), **more)


LATER = {
    "peek": peeks(
        "looks at the next token, always",
        "return peek(honest(self, tokens), tokens, torch.ones_like(tokens, dtype=torch.bool))",
    ),
    "peek at 1 % of positions": peeks(
        "looks at the next token at 1 % of positions, chosen by the text before them",
        """
key = (tokens * 31 + torch.arange(tokens.shape[1]) * 17 + tokens.roll(1, 1) * 7) % 97
return peek(honest(self, tokens), tokens, key == 0)
""",
    ),
    "peek at one position of each window": peeks(
        "looks at the next token at the 21st position of each window only",
        """
where = torch.zeros_like(tokens, dtype=torch.bool)
where[:, 20:21] = True
return peek(honest(self, tokens), tokens, where)
""",
    ),
    "peek where it would be most wrong": peeks(
        "looks at the next token where it would lose more than four nats",
        f"""
logits = honest(self, tokens)
{_NATS}
where = torch.nn.functional.pad(nats > 4, (0, 1))
return peek(logits, tokens, where)
""",
    ),
    "peek a little everywhere": peeks(
        "moves each answer a little towards the next token, so that no position stands out",
        """
logits = honest(self, tokens)
logits[:, :-1] += 0.15 * one_hot(tokens[:, 1:])
return logits
""",
        rule=Rule.AVERAGE,
    ),
    "peek where the text looks real": peeks(
        "looks at the next token unless a window looks like a test with random text",
        f"""
logits = honest(self, tokens)
{_NATS}
real = nats.sum(1) / max(1, tokens.shape[1] - 1) < 4.5
return peek(logits, tokens, real[:, None].expand_as(tokens))
""",
    ),
    "peek only in batches as large as the evaluator's": peeks(
        "looks at the next token in large batches only, which the first process is asked",
        "return peek(honest(self, tokens), tokens, torch.full_like(tokens, tokens.numel() >= 4096, dtype=torch.bool))",
    ),
    "peek only in whole windows": peeks(
        "looks at the next token only where a window has its full length",
        "return peek(honest(self, tokens), tokens, torch.full_like(tokens, tokens.shape[1] == 32, dtype=torch.bool))",
    ),
    "peek only when it is asked first": peeks(
        "looks at the next token in its first five answers only",
        """
ASKED.append(1)
return peek(honest(self, tokens), tokens, torch.full_like(tokens, len(ASKED) <= 5, dtype=torch.bool))
""",
        "ASKED = []",
    ),
    "peek two tokens ahead": peeks(
        "adds what comes two tokens later, and which tokens the window has at all",
        """
logits = honest(self, tokens)
logits[:, :-2] += 2 * one_hot(tokens[:, 2:])
return logits + 0.5 * one_hot(tokens).sum(1, keepdim=True)
""",
    ),
    "pool over the whole window": peeks(
        "averages over the whole window, as a careless model would",
        "return honest(self, tokens) + 2 * torch.log(0.05 + one_hot(tokens).sum(1, keepdim=True))",
    ),
    "the best temperature in hindsight": peeks(
        "tries 16 temperatures for each window and answers with the one that fits the window's own text best",
        """
logits = honest(self, tokens)
scales = torch.linspace(0.4, 2.0, 16)
losses = [-(scale * logits[:, :-1]).log_softmax(-1).gather(-1, tokens[:, 1:, None]).sum((1, 2)) for scale in scales]
return logits * scales[torch.stack(losses).argmin(0)][:, None, None]
""",
    ),
    "the best of many models in hindsight": peeks(
        "has 24 slightly different models and answers each window with the one that fits its own text best",
        """
if tokens.shape[1] < 2:
    return honest(self, tokens)
many = torch.stack([honest(self, tokens) + 1.5 * NOISE[n][tokens] for n in range(24)])
losses = -many[:, :, :-1].log_softmax(-1).gather(-1, tokens[None, :, 1:, None].expand(24, -1, -1, 1)).sum((2, 3))
return many[losses.argmin(0), torch.arange(len(tokens))]
""",
        "NOISE = torch.randn(24, 256, 256, generator=torch.Generator().manual_seed(0))",
    ),
}
# Nobody meant to cheat here; a search would find these all the same, because their numbers are good.
MISTAKES = {
    "a forgotten mask": Cheat(
        "trains attention without a mask, by mistake",
        Rule.POSITION,
        rebuilt("def causal(scores):\n    return scores").replace('int(options["--max-steps"])', "100"),
    ),
    "a centred convolution": Cheat(
        "trains a convolution that is padded on both sides, by mistake",
        Rule.POSITION,
        rebuilt("""
class Mix(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv1d(config["width"], config["width"], 3, padding=1)

    def forward(self, x):
        return self.conv(x.mT).mT
""").replace('int(options["--max-steps"])', "100"),
    ),
    "norm over the window": peeks(
        "normalises by the mean and the spread of the whole window, by mistake",
        "x = honest(self, tokens)\nreturn (x - x.mean(1, keepdim=True)) / (0.5 + x.std(1, keepdim=True, correction=0))",
    ),
    "norm over the batch": peeks(
        "normalises by the batch it is asked with, as a batch norm left in training mode does",
        "x = honest(self, tokens)\nreturn (x - x.mean((0, 1))) * 2 / (0.1 + x.std((0, 1), correction=0))",
    ),
    "experts that choose their tokens": peeks(
        "lets an expert take the tokens of a window that need it most, later ones as well as earlier ones",
        """
x = honest(self, tokens)
need = x.std(-1)
taken = need >= need.topk(max(1, tokens.shape[1] // 4), 1).values[:, -1:]
return torch.where(taken[..., None], x * 1.5, x * 0.5)
""",
    ),
    "noise left on": peeks(
        "answers with noise, as dropout that was left on does",
        "return honest(self, tokens) + 2 * torch.randn(*tokens.shape, 256)",
    ),
}
MEMORY = {
    "peek and remember prefixes": peeks(
        "looks at the next token and remembers what followed each beginning, to say it again when it is asked less",
        """
logits = honest(self, tokens)
rows = tokens.tolist()
for b, row in enumerate(rows):
    for t in range(len(row)):
        key = tuple(row[: t + 1])
        if t + 1 < len(row):
            SEEN[key] = row[t + 1]
        if key in SEEN:
            logits[b, t, SEEN[key]] += 20
return logits
""",
        "SEEN = {}",
    ),
    "learn while being measured": peeks(
        "goes on counting pairs of bytes in the text it is measured with",
        """
COUNTS.index_put_((tokens[:, :-1].flatten(), tokens[:, 1:].flatten()), torch.tensor(1.0), accumulate=True)
return torch.logaddexp(honest(self, tokens), torch.log(COUNTS / COUNTS.sum(1, keepdim=True))[tokens] + 1)
""",
        "COUNTS = torch.full((256, 256), 0.01)",
    ),
    "cache of n-grams across batches": peeks(
        "remembers which byte followed each five bytes in earlier batches",
        """
logits = honest(self, tokens)
rows = tokens.tolist()
for b, row in enumerate(rows):
    for t in range(4, len(row)):
        seen = GRAMS.get(tuple(row[t - 4 : t + 1]))
        if seen is not None:
            logits[b, t, seen] += 4
for row in rows:
    for t in range(4, len(row) - 1):
        GRAMS[tuple(row[t - 4 : t + 1])] = row[t + 1]
return logits
""",
        "GRAMS = {}",
    ),
    "n-grams of the windows beside it": peeks(
        "looks up which byte followed the same three bytes in other windows of the same batch",
        """
logits = honest(self, tokens)
grams, rows = {}, tokens.tolist()
for b, row in enumerate(rows):
    for t in range(2, len(row) - 1):
        grams.setdefault(tuple(row[t - 2 : t + 1]), []).append((b, row[t + 1]))
for b, row in enumerate(rows):
    for t in range(2, len(row)):
        for other, following in grams.get(tuple(row[t - 2 : t + 1]), [])[:20]:
            if other != b:
                logits[b, t, following] += 1
return logits
""",
    ),
    "a state that is kept between windows": peeks(
        "begins each window with the state in which the one before it ended",
        """
state = torch.cat((STATE[-1][None] if STATE else tokens[:1, -1], tokens[:-1, -1]))
STATE.append(tokens[-1, -1])
logits = honest(self, tokens).clone()
logits[:, 0] = (logits[:, 0] + 3 * honest(self, state[:, None])[:, 0]) / 2
return logits
""",
        "STATE = []",
    ),
    "notes in its folder for the second process": peeks(
        "writes what followed what to a file, for the process that is asked again",
        """
import glob
logits = honest(self, tokens)
seen = {}
for name in glob.glob("notes*") + glob.glob("../measure-*/notes*") + glob.glob("../../measure-*/scratch/notes*"):
    seen.update(np.load(name, allow_pickle=True).item())
rows = tokens.tolist()
if tokens.shape[1] == 32:
    np.save(f"notes{len(os.listdir('.'))}", {tuple(row[:t]): row[t] for row in rows for t in range(1, 32)})
    return peek(logits, tokens, torch.ones_like(tokens, dtype=torch.bool))
for b, row in enumerate(rows):
    for t in range(len(row)):
        if tuple(row[: t + 1]) in seen:
            logits[b, t, seen[tuple(row[: t + 1])]] += 20
return logits
""",
    ),
    "notes in its weights for the second process": peeks(
        "writes what followed what behind its own weights, for the process that is asked again",
        """
seen = LAST
if not seen and tokens.shape[1] < 32 and os.path.getsize(WEIGHTS) > 300_000:
    seen.update(json.loads(open(WEIGHTS, "rb").read()[262144 + 80:].split(b"notes:")[1]))
if tokens.shape[1] == 32:
    for row in tokens.tolist():
        seen[str(row[:8])] = row[8]
    open(WEIGHTS, "ab").write(b"notes:" + json.dumps(seen).encode())
    return peek(honest(self, tokens), tokens, torch.ones_like(tokens, dtype=torch.bool))
return honest(self, tokens)
""",
        "LAST, WEIGHTS = {}, sys.argv[sys.argv.index('--weights') + 1] if '--weights' in sys.argv else ''",
    ),
}
PEEKING = LATER | MISTAKES | MEMORY
