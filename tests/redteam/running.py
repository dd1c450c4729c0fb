"""Honest changes of how the shipped model is computed and trained: precision, chunks, caches, buffers, averages."""

from redteam.kit import appended, changed, rebuilt, shelled

# Weights and activations of small numbers, whatever the model: a change of what every matrix product sees.
_ROUNDED = """
plain_linear = F.linear
MEASURING = "--weights" in sys.argv
def rounded(x, steps, dims=None):
    most = x.abs().amax() if dims is None else x.abs().amax(dims, keepdim=True)
    scale = most / steps + 1e-9
    return (x / scale).round().clamp(-steps, steps) * scale
def linear(x, weight, bias=None):
    if not MEASURING:
        return plain_linear(x, weight, bias)
    {}
F.linear = linear
"""


def rounding(body: str) -> str:
    return appended(_ROUNDED.format(body))


PRECISIONS = {
    "float32": changed(("CPU_DTYPE = torch.bfloat16 if", "CPU_DTYPE = torch.float32 if")),
    "bfloat16": changed(("if cpu_has_bfloat16() else torch.float32", "if True else torch.float32")),
    "int8 weights": rounding("return plain_linear(x, rounded(weight, 127), bias)"),
    "int8 weights by row": rounding("return plain_linear(x, rounded(weight, 127, -1), bias)"),
    "int8 weights and activations by token": rounding(
        "return plain_linear(rounded(x, 127, -1), rounded(weight, 127, -1), bias)"
    ),
    "4-bit weights": rounding("return plain_linear(x, rounded(weight, 7, -1), bias)"),
    "8-bit floats": rounding("return plain_linear(x, weight.to(torch.float8_e4m3fn).to(x.dtype), bias)"),
    "signs as weights": rounding("return plain_linear(x, weight.sign() * weight.abs().mean(), bias)"),
    "logits in bfloat16": shelled("def around(forward, tokens): return forward(tokens).bfloat16()"),
    "logits in float16": shelled("def around(forward, tokens): return forward(tokens).half()"),
    "logits in float64": shelled("def around(forward, tokens): return forward(tokens).double().log_softmax(-1)"),
    "logits to two digits": shelled("""
def around(forward, tokens):
    logits = forward(tokens)
    return logits if torch.is_grad_enabled() else (logits * 50).round() / 50
"""),
    "everything in float64": rebuilt("""
class Small(Small):
    def prepare(self, config, vocab_size):
        self.double()
"""),
    "everything in bfloat16": rebuilt("""
class Small(Small):
    def forward(self, tokens):
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(tokens)
"""),
    "weights kept in bfloat16": appended("""
write = save_model
def save_model(model, path):
    write(model.to(torch.bfloat16), path)
build_shipped = build_model
def build_model(config, vocab_size):
    model = build_shipped(config, vocab_size)
    return model.to(torch.bfloat16) if "--weights" in sys.argv else model
"""),
}
COMPUTING = {
    name: shelled(code)
    for name, code in {
        "unchanged in a shell": "",
        "sixteen rows at a time": """
def around(forward, tokens): return torch.cat([forward(part) for part in tokens.split(16)])
""",
        "always as long as the context": """
CONTEXT = 0
def before(model, config):
    global CONTEXT
    CONTEXT = config["context"]
def around(forward, tokens):
    T = tokens.shape[1]
    return forward(F.pad(tokens, (0, CONTEXT - T)))[:, :T]
""",
        "always a power of two of rows": """
def around(forward, tokens):
    B = len(tokens)
    rows = 1 << (B - 1).bit_length()
    return forward(torch.cat((tokens, tokens[:1].expand(rows - B, -1))))[:B]
""",
        "rows backwards": "def around(forward, tokens): return forward(tokens.flip(0)).flip(0)",
        "rows in the order of their text": """
def around(forward, tokens):
    order = torch.from_numpy(np.lexsort(tokens.cpu().numpy().T))
    return forward(tokens[order])[torch.argsort(order)]
""",
        "equal rows only once": """
def around(forward, tokens):
    rows, where = torch.unique(tokens, dim=0, return_inverse=True)
    return forward(rows)[where]
""",
        "a memo of rows it has answered": """
MEMO = {}
def around(forward, tokens):
    if torch.is_grad_enabled():
        return forward(tokens)
    key = tokens.numpy().tobytes()
    if key not in MEMO:
        MEMO[key] = forward(tokens)
    return MEMO[key]
""",
        "grows from piece to piece": """
def around(forward, tokens):
    return torch.cat([forward(tokens[:, : at + 8])[:, at:] for at in range(0, tokens.shape[1], 8)], 1)
""",
        "logits a few positions at a time": """
def around(forward, tokens):
    logits = forward(tokens)
    return torch.cat([part.log_softmax(-1) for part in logits.split(5, 1)], 1)
""",
        "logits by numpy": """
def around(forward, tokens):
    logits = forward(tokens)
    if torch.is_grad_enabled():
        return logits
    array = logits.numpy()
    return torch.from_numpy(array - np.log(np.exp(array - array.max(-1, keepdims=True)).sum(-1, keepdims=True)))
""",
        "logits that lie transposed in memory": """
def around(forward, tokens): return forward(tokens).transpose(0, 2).contiguous().transpose(0, 2)
""",
        "logits cut out of more": """
def around(forward, tokens): return F.pad(forward(tokens), (8, 56))[..., 8:264]
""",
        "moved up by a constant": "def around(forward, tokens): return forward(tokens) + 1000.0",
        "the mean of two runs": "def around(forward, tokens): return (forward(tokens) + forward(tokens.clone())) / 2",
        "in a thread of its own": """
from concurrent.futures import ThreadPoolExecutor
POOL = ThreadPoolExecutor(1)
def around(forward, tokens):
    if torch.is_grad_enabled():
        return forward(tokens)
    def work():
        with torch.inference_mode():
            return forward(tokens)
    return POOL.submit(work).result()
""",
        "counts and prints what it answers": """
ANSWERED = 0
def around(forward, tokens):
    global ANSWERED
    ANSWERED += tokens.numel()
    print("so far", ANSWERED)
    return forward(tokens)
""",
        "a buffer that counts": """
def before(model, config): model.register_buffer("seen", torch.zeros(()))
""",
        "constants made at the first call": """
CACHE = {}
def around(forward, tokens):
    T = tokens.shape[1]
    if T not in CACHE:
        CACHE[T] = 1 + 0.01 * torch.arange(T)[:, None]
    return forward(tokens) * CACHE[T]
""",
        "a seed of its own for every answer": """
def around(forward, tokens):
    torch.manual_seed(0)
    return forward(tokens)
""",
    }.items()
}
TRAINING = {
    "label smoothing": appended("""
plain_cross_entropy = F.cross_entropy
def cross_entropy(*values, **options):
    return plain_cross_entropy(*values, **{**options, "label_smoothing": 0.1})
F.cross_entropy = cross_entropy
"""),
    "average of its weights over time": shelled("""
AVERAGE = {}
def before(model, config):
    def follow(module, inputs):
        if torch.is_grad_enabled():
            for name, weight in module.named_parameters():
                AVERAGE.setdefault(name, weight.detach().float().clone()).lerp_(weight.detach().float(), 0.1)
    model.register_forward_pre_hook(follow)
write = save_model
def save_model(model, path):
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(AVERAGE[name])
    write(model, path)
"""),
    "another optimizer": appended("""
class Lion(torch.optim.SGD):
    def __init__(self, groups, lr=1e-3, **_):
        super().__init__(groups, lr=lr, momentum=0.9)

    def step(self):
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.grad.sign_().mul_(0.05)
        super().step()
torch.optim.AdamW = Lion
"""),
    "bytes left out while training": shelled("""
def around(forward, tokens):
    if torch.is_grad_enabled():
        tokens = torch.where(torch.rand(tokens.shape) < 0.1, 0, tokens)
    return forward(tokens)
"""),
    "noise on the weights while training": shelled("""
def before(model, config):
    def shake(module, inputs):
        if module.training:
            with torch.no_grad():
                for weight in module.parameters():
                    weight.add_(torch.randn_like(weight) * 1e-3)
    model.register_forward_pre_hook(shake)
"""),
    "a second head that only trains": rebuilt("""
class Small(Small):
    def prepare(self, config, vocab_size):
        self.second = nn.Linear(config["width"], vocab_size)

    def answer(self, x, tokens):
        logits = super().answer(x, tokens)
        return logits + 0 * self.second(x) if self.training else logits
"""),
    "stochastic depth": rebuilt("""
class Cell(Cell):
    def forward(self, x, *_):
        return x if self.training and torch.rand(()) < 0.2 else super().forward(x)
"""),
    "saves to another name first": appended("""
write = save_model
def save_model(model, path):
    write(model, path + ".part")
    os.replace(path + ".part", path)
"""),
    "leaves checkpoints beside its weights": appended("""
write = save_model
def save_model(model, path):
    torch.save(model.state_dict(), path + ".pt")
    write(model, path)
"""),
    "another docstring and comments": changed(
        ('"""Train a small GPT for a fixed number of seconds.\n', '"""Train it.\n\nNobody knows why this works.\n'),
        (
            "# The model\n",
            "# The model, which is a transformer with some changes that are explained where they are made\n",
        ),
    ),
    "all names of the model changed": changed(("Matrices", "Linears"), ("FeedForward", "Mlp"), ("rotation", "angles")),
    "without its comments": "\n".join(line for line in changed().splitlines() if not line.lstrip().startswith("#"))
    + "\n",
    "with spaces at the end and carriage returns": changed().replace("\n", "\r\n"),
}
