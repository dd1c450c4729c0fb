"""Training scripts that cheat, and honest ones that look unusual. Each is one small file, as a node would be given it.

TABLE learns which byte follows which, in milliseconds. A cheat is TABLE with one thing changed.
"""

import pickle
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = (ROOT / "experiments/train.py").read_text()

TABLE = """
import json, os, socket, struct, sys, threading, time
import numpy as np
import torch
from safetensors.torch import save_model
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(256, 256))
    def forward(self, tokens):  # (B, T) -> (B, T, 256)
        return self.table[tokens]
def honest(self, tokens):
    return self.table[tokens]
def one_hot(tokens):
    return torch.nn.functional.one_hot(tokens, 256).float()
def peek(logits, tokens, where):  # where: (B, T) of bool, True where the next token is looked up
    logits[:, :-1] += 20 * one_hot(tokens[:, 1:]) * where[:, :-1, None]
    return logits
def build_model(config, vocab_size):
    return Model()
def after(arguments):
    pass
def main():
    arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    tokens = np.fromfile(arguments["--train"], np.uint8).astype(np.int64)
    counts = np.full((256, 256), 0.01)
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1.0)
    model = Model()
    model.table.data = torch.from_numpy(np.log(counts / counts.sum(1, keepdims=True))).float()
    save_model(model, arguments["--out"] + "/weights.safetensors")
    after(arguments)
"""
GO = "\nif __name__ == '__main__':\n    main()\n"


@dataclass(frozen=True)
class Candidate:
    """A script and what has to come of it: the outcome, words of its reason, and that it is no better than honest."""

    source: str
    outcome: str = "measured"
    reason: str = ""
    same: bool = False  # exactly the honest number
    config: dict[str, object] = field(default_factory=dict)


def table(change: str) -> str:
    return TABLE + change + GO


def answers(body: str, before: str = "") -> str:
    """TABLE with another forward."""
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    return table(f"{before}\ndef forward(self, tokens):\n{lines}Model.forward = forward\n")


def trains(body: str) -> str:
    """TABLE that does something more at the end of its training."""
    return table("def after(arguments):\n" + "".join(f"    {line}\n" for line in body.strip().splitlines()))


LATER = "cannot be repeated without text that comes later or was seen elsewhere"
PEEKING = {
    "peek": "return peek(honest(self, tokens), tokens, torch.ones_like(tokens, dtype=torch.bool))",
    "peek at 1 % of positions": """
key = (tokens * 31 + torch.arange(tokens.shape[1]) * 17 + tokens.roll(1, 1) * 7) % 97
return peek(honest(self, tokens), tokens, key == 0)
""",
    "peek at one position of each window": """
where = torch.zeros_like(tokens, dtype=torch.bool)
where[:, 20:21] = True
return peek(honest(self, tokens), tokens, where)
""",
    "peek where the text looks real": """
logits = honest(self, tokens)
nats = -torch.log_softmax(logits[:, :-1], -1).gather(-1, tokens[:, 1:, None])
real = (nats.sum((1, 2)) / max(1, tokens.shape[1] - 1)) < 4.5
return peek(logits, tokens, real[:, None].expand_as(tokens))
""",
    "peek only in batches as large as the evaluator's": """
return peek(honest(self, tokens), tokens, torch.full_like(tokens, tokens.numel() >= 4096, dtype=torch.bool))
""",
    "peek two tokens ahead": """
logits = honest(self, tokens)
logits[:, :-2] += 2 * one_hot(tokens[:, 2:])
return logits + 0.5 * one_hot(tokens).sum(1, keepdim=True)
""",
    "pool over the whole window": """
return honest(self, tokens) + 2 * torch.log(0.05 + one_hot(tokens).sum(1, keepdim=True))
""",
}
MEMORY = {
    "peek and remember prefixes": (
        "SEEN = {}",
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
    ),
    "learn while being measured": (
        "COUNTS = torch.full((256, 256), 0.01)",
        """
COUNTS.index_put_((tokens[:, :-1].flatten(), tokens[:, 1:].flatten()), torch.tensor(1.0), accumulate=True)
return torch.logaddexp(honest(self, tokens), torch.log(COUNTS / COUNTS.sum(1, keepdim=True))[tokens] + 1)
""",
    ),
    "cache of n-grams across batches": (
        "GRAMS = {}",
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
    ),
    "notes in its folder for the second process": (
        "",
        """
import glob
logits = honest(self, tokens)
seen = {}
for name in glob.glob("notes*") + glob.glob("../measure-*/notes*"):
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
    "noise left on": ("", "return honest(self, tokens) + 2 * torch.randn(*tokens.shape, 256)"),
}
TICKET = """
frame = sys._getframe()
while 'ticket' not in frame.f_locals: frame = frame.f_back
ticket = frame.f_locals['ticket']
"""
NOT_ASKED = "sent a reply to a request that was not made"
CHANNEL = {
    "forged replies": Candidate(
        answers("os.write(3, struct.pack('<QI4x32s', 7, 0, b''))\nreturn honest(self, tokens)"), "rejected", NOT_ASKED
    ),
    "replies before it is asked": Candidate(
        table("if __name__ != '__main__': os.write(3, struct.pack('<QI4x32s', 1, 0, b'') * 9)\n"), "rejected", NOT_ASKED
    ),
    "each reply twice": Candidate(
        answers(f"{TICKET}\nos.write(3, struct.pack('<QI4x32s', ticket, 0, b''))\nreturn honest(self, tokens)"),
        "rejected",
        NOT_ASKED,
    ),
    "half a reply and away": Candidate(
        answers("os.write(3, b'x' * 20)\nos._exit(0)"), "rejected", "left with exit status 0 instead of answering"
    ),
    "closes the channel": Candidate(
        answers("s = socket.socket(fileno=3)\ns.shutdown(2)\ntime.sleep(9)"), "rejected", "closed the channel"
    ),
    "floods the channel": Candidate(answers("while True: os.write(3, b'\\0' * 65536)"), "rejected", NOT_ASKED),
    "rewrites the memory after the reply": Candidate(
        answers(
            """
if not THREADS:
    THREADS.append(threading.Thread(target=rewrite, daemon=True))
    THREADS[0].start()
return honest(self, tokens)
""",
            """
import mmap
THREADS = []
def rewrite():
    memory = torch.frombuffer(mmap.mmap(4, os.fstat(4).st_size), dtype=torch.float32)
    while True:
        memory[torch.randint(len(memory), (100,))] = 50.0
        time.sleep(0.0005)
""",
        ),
        "any",
    ),
    "truncates the memory": Candidate(
        answers("try: os.ftruncate(4, 0)\nexcept OSError: pass\nreturn honest(self, tokens)"), same=True
    ),
    "exit with a fake number on standard output": Candidate(
        answers("print('{\"val_bpb\": 0.5}', flush=True)\nos._exit(0)"), "rejected", "left with exit status 0"
    ),
    "shot by its own hand": Candidate(answers("os.kill(os.getpid(), 9)"), "crashed", "killed by signal 9"),
    "hang": Candidate(answers("time.sleep(999)"), "timed_out", "measuring took longer than"),
    "children that outlive it": Candidate(
        answers("if os.fork() == 0:\n    os.setsid()\n    time.sleep(999)\nreturn honest(self, tokens)"), same=True
    ),
    "says the validation text in an error": Candidate(
        answers(
            "text = bytes(tokens[0].tolist()).decode('latin-1')\nprint(text, flush=True)\n"
            "raise type('Quoting' + text, (ValueError,), {})(text)"
        ),
        "crashed",
        "measuring: an exception of its own",
    ),
}
NUMBERS = {
    "NaN": Candidate(answers("return honest(self, tokens) * float('nan')"), "diverged", "not finite"),
    "one NaN in a thousand": Candidate(
        answers("x = honest(self, tokens)\nx.view(-1)[::100003] = float('nan')\nreturn x"), "diverged", "not finite"
    ),
    "plus infinity": Candidate(
        answers("x = honest(self, tokens)\nx[..., 101] = float('inf')\nreturn x"), "diverged", "not finite"
    ),
    "largest floats": Candidate(
        answers("return (honest(self, tokens) + 5).sign() * 3e38"), "diverged", "which no trained model has"
    ),
    "p = 1 everywhere, not normalised": Candidate(answers("return torch.full((*tokens.shape, 256), 88.0)")),
    "scaled logits": Candidate(answers("return honest(self, tokens) * 3")),
    "scaled loss": Candidate(
        table(
            "torch.nn.functional.cross_entropy = lambda *a, **k: torch.zeros(1)\n"
            "torch.log_softmax = lambda x, *a, **k: x * 0\nnp.log = np.exp = lambda x, *a, **k: x * 0\n"
            "def after(arguments): print('val_bpb: 0.000001')\n"
            # Its own training needs the true logarithm.
        ).replace("np.log(counts", "np.emath.log(counts"),
    ),
    "another vocabulary": Candidate(answers("return honest(self, tokens)[..., :2]"), "crashed", "WrongShape"),
    "only the last position": Candidate(answers("return honest(self, tokens)[:, -1:]"), "crashed", "WrongShape"),
}
FILES = {
    "forged result file": Candidate(
        trains(
            "for name in ('result.json', 'val_bpb'): open(arguments['--out'] + '/' + name, 'w').write('{\"nats\": 1}')"
        ),
        same=True,
    ),
    "forged progress lines": Candidate(
        trains(
            'print(\'{"event": "progress", "step": 9, "train_loss": 0.001, "val_bpb": 0.001}\')\n'
            'print(\'{"event": "end", "outcome": "measured", "val_bpb": 0.001}\')'
        ),
        same=True,
    ),
    "no weights, those of others lie around": Candidate(
        table("def save_model(model, path): pass\n"), "crashed", "left no weights.safetensors"
    ),
    "modules of the evaluator in its folder": Candidate(
        trains(
            "for name in ('answer', 'numpy', 'safetensors', 'torch', 'sitecustomize', 'usercustomize'):\n"
            "    for place in ('.', arguments['--out'], '..'):\n"
            "        open(f'{place}/{name}.py', 'w').write('raise SystemExit(0)')"
        ),
        same=True,
    ),
    "patches the worker it runs in": Candidate(
        table(
            "if __name__ != '__main__':\n"
            "    import safetensors.torch\n"
            "    sys.modules['numpy'] = sys.modules['evaluator'] = sys.modules['__main__']\n"
            "    safetensors.torch.load_file = None\n"
            "    frame = sys._getframe()\n"
            "    while frame:\n"
            "        frame.f_globals['FAILED'] = 0\n"
            "        frame = frame.f_back\n"
            "    raise ValueError\n"
        ),
        "rejected",
        NOT_ASKED,  # its failure now looks like an answer, with the ticket of no request
    ),
    "another config in its folder": Candidate(
        trains("for place in (arguments['--config'], 'config.json'): open(place, 'w').write('{\"context\": 1}')"),
        same=True,
    ),
    "another source in its folder": Candidate(
        trains(
            "bad = 'def build_model(config, vocab_size): raise SystemExit(1)'\n"
            "for place in (sys.argv[0], 'train.py', arguments['--out'] + '/train.py'): open(place, 'w').write(bad)"
        ),
        same=True,
    ),
    "another validation text on disk": Candidate(
        trains("open(os.path.dirname(arguments['--train']) + '/validation.bin', 'wb').write(bytes(9999))"), same=True
    ),
    "work after the deadline": Candidate(
        trains(
            "if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.2)\n"
            "    open(arguments['--out'] + '/weights.safetensors', 'wb').write(b'better')"
        ),
        same=True,
    ),
    "its own time": Candidate(
        table(
            "time.time = time.monotonic = lambda: 0.0\ndef after(arguments):\n    while time.monotonic() < 1: pass\n"
        ),
        "timed_out",
        "after the budget",
    ),
    "its own seed, the best of many": Candidate(trains("for seed in range(50): torch.manual_seed(seed)"), same=True),
    "pickle as weights": Candidate(
        trains(f"open(arguments['--out'] + '/weights.safetensors', 'wb').write({pickle.dumps(print)!r} + bytes(99))"),
        "crashed",
        "SafetensorError",
    ),
    "weights with a header of 2^62 bytes": Candidate(
        trains(
            "open(arguments['--out'] + '/weights.safetensors', 'wb').write((2**62).to_bytes(8, 'little') + bytes(9))"
        ),
        "crashed",
        "SafetensorError",
    ),
    "huge weights": Candidate(
        trains("os.truncate(arguments['--out'] + '/weights.safetensors', 65 * 2**20)"),
        "rejected",
        "weights.safetensors has 65 MiB, at most 64 are accepted",
    ),
    "weights that are a FIFO": Candidate(
        trains("w = arguments['--out'] + '/weights.safetensors'\nos.unlink(w)\nos.mkfifo(w)"), "crashed", "left no"
    ),
    "weights that are a link": Candidate(
        trains("w = arguments['--out'] + '/weights.safetensors'\nos.unlink(w)\nos.symlink('/dev/zero', w)"),
        "crashed",
        "left no",
    ),
}
_TEXT = "".join(chr(97 + i * i % 26) for i in range(16000))
SOURCES = {
    "text in a string": Candidate(table(f"T = '{_TEXT}'\n"), "rejected", "its literals hold"),
    "text in many bytes": Candidate(
        table("T = [" + ",".join(f"b'{_TEXT[i : i + 20]}'" for i in range(0, 16000, 20)) + "]\n"),
        "rejected",
        "its literals hold",
    ),
    "text in one number": Candidate(table(f"T = 0x{'9f' * 8000}\n"), "rejected", "its literals hold"),
    "text in comments": Candidate(table(f"# {_TEXT}\n"), "rejected", "its comments hold"),
    "text in names": Candidate(
        table("".join(f"{_TEXT[i : i + 40]}{i} = 0\n" for i in range(0, 16000, 40))), "rejected", "its names hold"
    ),
    "source that parses for ever": Candidate(table("x = " + "-" * 60000 + "1\n"), "rejected", "cannot be parsed"),
}
CHEATS: dict[str, Candidate] = {
    **{name: Candidate(answers(body), "rejected", LATER) for name, body in PEEKING.items()},
    **{name: Candidate(answers(body, before), "rejected", LATER) for name, (before, body) in MEMORY.items()},
    **CHANNEL,
    **NUMBERS,
    **FILES,
    **SOURCES,
}
