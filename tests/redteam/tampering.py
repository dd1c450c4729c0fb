"""Cheats at the channel on which answers are given, and with the numbers that are answered."""

from redteam.candidates import Cheat, Rule, answers, table

_TICKET = """
frame = sys._getframe()
while 'ticket' not in frame.f_locals: frame = frame.f_back
ticket = frame.f_locals['ticket']
"""
_REWRITE = """
import mmap
THREADS = []
def rewrite():
    memory = torch.frombuffer(mmap.mmap(4, os.fstat(4).st_size), dtype=torch.float32)
    while True:
        memory[torch.randint(len(memory), (100,))] = 50.0
        time.sleep(0.0005)
"""
_RESERVED = "the node copies the logits before it looks at them, and what is written later belongs to no request"
CHANNEL = {
    "forged replies": Cheat(
        "writes a reply of its own into the channel with each answer",
        Rule.TICKET,
        answers("os.write(3, struct.pack('<QI4x32s', 7, 0, b''))\nreturn honest(self, tokens)"),
    ),
    "replies before it is asked": Cheat(
        "fills the channel with replies while it is loaded",
        Rule.TICKET,
        table("if __name__ != '__main__': os.write(3, struct.pack('<QI4x32s', 1, 0, b'') * 9)\n"),
    ),
    "each reply twice": Cheat(
        "finds the ticket in the worker's memory and replies twice",
        Rule.TICKET,
        answers(f"{_TICKET}\nos.write(3, struct.pack('<QI4x32s', ticket, 0, b''))\nreturn honest(self, tokens)"),
    ),
    "answers in another order": Cheat(
        "reads the next request by itself and replies to it first",
        Rule.TICKET,
        answers("""
head = b''
while len(head) < 20: head += os.read(3, 20 - len(head))
os.write(3, struct.pack('<QI4x32s', struct.unpack('<QIII', head)[0], 0, b''))
return honest(self, tokens)
"""),
    ),
    "half a reply and away": Cheat(
        "sends the beginning of a reply and leaves",
        Rule.LEFT,
        answers("os.write(3, b'x' * 20)\nos._exit(0)"),
    ),
    "closes the channel": Cheat(
        "closes the channel and stays",
        Rule.CLOSED,
        answers("s = socket.socket(fileno=3)\ns.shutdown(2)\ntime.sleep(9)"),
    ),
    "floods the channel": Cheat(
        "writes zeros into the channel for ever", Rule.TICKET, answers("while True: os.write(3, b'\\0' * 65536)")
    ),
    "says that it failed, in words of its own": Cheat(
        "replies with a status that nobody knows and text where an exception's name belongs",
        Rule.FAILED,
        answers(f"{_TICKET}\nos.write(3, struct.pack('<QI4x32s', ticket, 77, b'val_bpb: 0.1'))\ntime.sleep(9)"),
        words="an exception of its own",
    ),
    "says that memory ran out": Cheat(
        "replies that it is out of memory, to be tried again",
        Rule.SAYS_MEMORY,
        answers(f"{_TICKET}\nos.write(3, struct.pack('<QI4x32s', ticket, 2, b''))\ntime.sleep(9)"),
    ),
    "rewrites the memory after the reply": Cheat(
        "goes on changing the shared memory in a thread of its own",
        Rule.NO_BETTER,
        answers(
            """
if not THREADS:
    THREADS.append(threading.Thread(target=rewrite, daemon=True))
    THREADS[0].start()
return honest(self, tokens)
""",
            _REWRITE,
        ),
        why=f"{_RESERVED}; as a rule it spoils its own answers, and then they cannot be repeated",
        or_rule=Rule.POSITION,
    ),
    "truncates the memory": Cheat(
        "shrinks the shared memory under the node's feet",
        Rule.SAME,
        answers("try: os.ftruncate(4, 0)\nexcept OSError: pass\nreturn honest(self, tokens)"),
        why="the kernel refuses it: the memory is sealed",
    ),
    "exit with a fake number on standard output": Cheat(
        "prints a number and leaves with status 0",
        Rule.LEFT,
        answers("print('{\"val_bpb\": 0.5}', flush=True)\nos._exit(0)"),
    ),
    "shot by its own hand": Cheat(
        "kills itself while it is asked", Rule.FAILED, answers("os.kill(os.getpid(), 9)"), words="killed by signal 9"
    ),
    "shoots whoever started it": Cheat(
        "kills the process that it was forked from, while it is asked",
        Rule.FAILED,
        answers("os.kill(os.getppid(), 9)\ntime.sleep(9)"),
        words="lost together with the one that started it",
    ),
    "hang": Cheat("never answers", Rule.PATIENCE, answers("time.sleep(999)")),
    "an ensemble of a million": Cheat(
        "averages so many models that an answer takes hours",
        Rule.PATIENCE,
        answers("return sum(honest(self, tokens) + 1e-6 * n for n in range(1_000_000))"),
    ),
    "children that outlive it": Cheat(
        "leaves a child behind in a session of its own",
        Rule.SAME,
        answers(
            "if not CHILDREN:\n    CHILDREN.append(os.fork())\n"
            "    if CHILDREN == [0]:\n        os.setsid()\n        time.sleep(999)\nreturn honest(self, tokens)",
            "CHILDREN = []",
        ),
        why="the child is killed with it",
    ),
    "says the validation text in an error": Cheat(
        "prints the text it is asked with, and raises an exception that is named after it",
        Rule.FAILED,
        answers(
            "text = bytes(tokens[0].tolist()).decode('latin-1')\nprint(text, flush=True)\n"
            "raise type('Quoting' + text, (ValueError,), {})(text)"
        ),
        words="an exception of its own",
    ),
    "patches the worker it runs in": Cheat(
        "replaces parts of the worker while it is loaded and makes its failure look like an answer",
        Rule.TICKET,  # of no request
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
    ),
    "searches its process for the answers": Cheat(
        "looks for the targets in all objects, frames and open files of its process",
        Rule.SAME,
        answers(
            """
import gc
if not FOUND:
    rows = [bytes(row) for row in tokens[:, 1:].tolist()]  # all of them: single ones are in the train text, too
    held = [o for o in gc.get_objects() if isinstance(o, (bytes, bytearray))]
    frame = sys._getframe()
    while frame:
        held += [v for v in frame.f_locals.values() if isinstance(v, (bytes, bytearray))]
        frame = frame.f_back
    for name in os.listdir('/proc/self/fd'):
        try: held.append(os.pread(int(name), 1 << 22, 0))
        except OSError: pass
    FOUND.append([text for text in held if len(text) > 40_000 and all(row in text for row in rows)])
if FOUND[0]:
    return honest(self, tokens) * float('nan')  # seen by the test: this one is found out
return honest(self, tokens)
""",
            "FOUND = []",
        ),
        why="the targets are in the node's process only",
    ),
}
_NORMALISED = "the node normalises over the whole vocabulary by itself"
NUMBERS = {
    "NaN": Cheat("answers NaN", Rule.FINITE, answers("return honest(self, tokens) * float('nan')")),
    "one NaN in a thousand": Cheat(
        "answers a NaN now and then",
        Rule.FINITE,
        answers("x = honest(self, tokens)\nx.view(-1)[::100003] = float('nan')\nreturn x"),
    ),
    "plus infinity": Cheat(
        "answers infinity for one byte",
        Rule.FINITE,
        answers("x = honest(self, tokens)\nx[..., 101] = float('inf')\nreturn x"),
    ),
    "minus infinity": Cheat(
        "answers minus infinity for all bytes but one, which would cost nothing where that one is right",
        Rule.FINITE,
        answers("return torch.where(honest(self, tokens) == 0, 0.0, -float('inf'))"),
    ),
    "largest floats": Cheat(
        "answers the largest numbers that a float can hold",
        Rule.RANGE,
        answers("return (honest(self, tokens) + 5).sign() * 3e38"),
    ),
    "p = 1 everywhere, not normalised": Cheat(
        "answers a large number for every byte",
        Rule.NO_BETTER,
        answers("return torch.full((*tokens.shape, 256), 88.0)"),
        why=_NORMALISED,
    ),
    "scaled logits": Cheat(
        "answers three times its logits", Rule.NO_BETTER, answers("return honest(self, tokens) * 3"), why=_NORMALISED
    ),
    "scaled loss": Cheat(
        "replaces cross entropy, softmax and logarithms, and prints a loss of nothing",
        Rule.NO_BETTER,
        table(
            "torch.nn.functional.cross_entropy = lambda *a, **k: torch.zeros(1)\n"
            "torch.log_softmax = lambda x, *a, **k: x * 0\nnp.log = np.exp = lambda x, *a, **k: x * 0\n"
            "def after(arguments): print('val_bpb: 0.000001')\n"
            # Its own training needs the true logarithm.
        ).replace("np.log(counts", "np.emath.log(counts"),
        why="the loss is computed in the node's process, where nothing of it is loaded",
    ),
    "probability of the right byte only": Cheat(
        "answers one number a position, meant as the probability of whatever follows",
        Rule.SHAPE,
        answers("return torch.zeros(*tokens.shape, 1)"),
    ),
    "another vocabulary": Cheat(
        "answers for two kinds of byte only", Rule.SHAPE, answers("return honest(self, tokens)[..., :2]")
    ),
    "a larger vocabulary": Cheat(
        "answers for twice as many kinds of token as there are",
        Rule.SHAPE,
        answers("return honest(self, tokens).repeat(1, 1, 2)"),
    ),
    "only the last position": Cheat(
        "answers for the last position only", Rule.SHAPE, answers("return honest(self, tokens)[:, -1:]")
    ),
    "fewer bytes to a token": Cheat(
        "makes the worker write answers for a vocabulary of two, and says that the text is longer than it is",
        Rule.NO_BETTER,
        table(
            "def small(model, tokens, slot, vocab_size, device):\n"
            "    slot[: 2 * tokens.numel()] = 9.0\n"
            "if __name__ != '__main__':\n"
            "    frame = sys._getframe()\n"
            "    while frame:\n"
            "        if 'answer' in frame.f_globals: frame.f_globals.update(answer=small, raw_bytes=1 << 40)\n"
            "        frame = frame.f_back\n"
        ),
        why="vocabulary, windows and the number of bytes are the node's own",
    ),
}
TAMPERING = CHANNEL | NUMBERS
