"""Cheats with what a training leaves behind: files, weights, processes; and with what it brings along in its source."""

import os
import pickle
import random

from redteam.candidates import Cheat, Rule, table, trains

_WEIGHTS = "w = arguments['--out'] + '/weights.safetensors'\n"
_OWN = "source and config are the node's own, written anew for each process"


class _Bomb:
    """What pickle would call when it loads this."""

    def __reduce__(self) -> tuple[object, ...]:
        return os._exit, (0,)


FILES = {
    "forged result file": Cheat(
        "writes files that look like results",
        Rule.SAME,
        trains(
            "for name in ('result.json', 'val_bpb'): open(arguments['--out'] + '/' + name, 'w').write('{\"nats\": 1}')"
        ),
        why="nobody reads them",
    ),
    "forged progress lines": Cheat(
        "prints progress and an end with a number that was never measured",
        Rule.SAME,
        trains(
            'print(\'{"event": "progress", "step": 9, "train_loss": 0.001, "val_bpb": 0.001}\')\n'
            'print(\'{"event": "end", "outcome": "measured", "val_bpb": 0.001}\')'
        ),
        why="what is printed is shown to people and is never a result",
    ),
    "no weights, those of others lie around": Cheat(
        "leaves no weights and hopes for stale ones",
        Rule.NO_WEIGHTS,
        table("def save_model(model, path): pass\n"),
    ),
    "weights in the folder above": Cheat(
        "leaves its weights where the next trial would find them, and none for itself",
        Rule.NO_WEIGHTS,
        trains(f"{_WEIGHTS}os.replace(w, '../../weights.safetensors')"),
    ),
    "modules of the evaluator in its folder": Cheat(
        "leaves modules with the names of those that the worker imports",
        Rule.SAME,
        trains(
            "for name in ('answer', 'numpy', 'safetensors', 'torch', 'sitecustomize', 'usercustomize'):\n"
            "    for place in ('.', arguments['--out'], '..'):\n"
            "        open(f'{place}/{name}.py', 'w').write('raise SystemExit(0)')"
        ),
        why="the worker has a folder of its own and imported them before",
    ),
    "another config in its folder": Cheat(
        "replaces its config after training",
        Rule.SAME,
        trains("for place in (arguments['--config'], 'config.json'): open(place, 'w').write('{\"context\": 1}')"),
        why=_OWN,
    ),
    "another source in its folder": Cheat(
        "replaces its source after training",
        Rule.SAME,
        trains(
            "bad = 'def build_model(config, vocab_size): raise SystemExit(1)'\n"
            "for place in (sys.argv[0], 'train.py', arguments['--out'] + '/train.py'): open(place, 'w').write(bad)"
        ),
        why=_OWN,
    ),
    "another validation text on disk": Cheat(
        "overwrites the validation shard with zeros",
        Rule.SAME,
        trains("open(os.path.dirname(arguments['--train']) + '/validation.bin', 'wb').write(bytes(9999))"),
        why="the node has read it before any script ran",
    ),
    "work after the deadline": Cheat(
        "leaves a child that writes better weights later",
        Rule.SAME,
        trains(
            "if os.fork() == 0:\n    os.setsid()\n    time.sleep(0.2)\n"
            "    open(arguments['--out'] + '/weights.safetensors', 'wb').write(b'better')"
        ),
        why="the child is killed before the weights are read",
    ),
    "its own seed, the best of many": Cheat(
        "tries many seeds while it trains",
        Rule.SAME,
        trains("for seed in range(50): torch.manual_seed(seed)"),
        why="it may train as it likes: without the validation text it cannot know which seed is lucky there",
    ),
    "pickle as weights": Cheat(
        "leaves a pickle that ends the process which opens it",
        Rule.LOADING,
        trains(f"{_WEIGHTS}open(w, 'wb').write({pickle.dumps(_Bomb())!r} + bytes(99))"),
        words="SafetensorError",
    ),
    "weights with a header of 2^62 bytes": Cheat(
        "leaves weights whose header claims to be longer than any memory",
        Rule.LOADING,
        trains(f"{_WEIGHTS}open(w, 'wb').write((2**62).to_bytes(8, 'little') + bytes(9))"),
        words="SafetensorError",
    ),
    "weights cut short": Cheat(
        "leaves the first half of its weights",
        Rule.LOADING,
        trains(f"{_WEIGHTS}os.truncate(w, 100_000)"),
        words="SafetensorError",
    ),
    "weights of another model": Cheat(
        "leaves weights whose shapes are not those of its model",
        Rule.LOADING,
        trains(f"{_WEIGHTS}model = torch.nn.Linear(7, 7)\nsave_model(model, w)"),
        words="RuntimeError",
    ),
    "weights that are NaN": Cheat(
        "leaves weights that are no numbers",
        Rule.FINITE,
        trains(f"{_WEIGHTS}m = Model()\nm.table.data.fill_(float('nan'))\nsave_model(m, w)"),
    ),
    "empty weights": Cheat(
        "leaves a file of weights with nothing in it",
        Rule.LOADING,
        trains(f"{_WEIGHTS}open(w, 'wb').close()"),
        words="SafetensorError",
    ),
    "huge weights": Cheat(
        "leaves more weights than are accepted, such as all of its training text",
        Rule.WEIGHTS_SIZE,
        trains(f"{_WEIGHTS}os.truncate(w, 65 * 2**20)"),
    ),
    "weights that are a FIFO": Cheat(
        "leaves a pipe at which a reader would wait for ever",
        Rule.NO_WEIGHTS,
        trains(f"{_WEIGHTS}os.unlink(w)\nos.mkfifo(w)"),
    ),
    "weights that are a link": Cheat(
        "leaves a link to a file that never ends",
        Rule.NO_WEIGHTS,
        trains(f"{_WEIGHTS}os.unlink(w)\nos.symlink('/dev/zero', w)"),
    ),
    "weights that are a folder": Cheat(
        "leaves a folder where weights belong",
        Rule.NO_WEIGHTS,
        trains(f"{_WEIGHTS}os.unlink(w)\nos.mkdir(w)"),
    ),
}
_RANDOM = random.Random(1)
_NAMES = [f"{a}{b}" for a in "abcdefghijklmnop" for b in "0123456789ABCDEF"]
_TEXT = "".join(chr(97 + i * i % 26) for i in range(16000))
SOURCES = {
    "text in a string": Cheat(
        "carries the validation text in a string", Rule.SOURCE, table(f"T = '{_TEXT}'\n"), words="its literals"
    ),
    "text in many bytes": Cheat(
        "carries it in many short constants",
        Rule.SOURCE,
        table("T = [" + ",".join(f"b'{_TEXT[i : i + 20]}'" for i in range(0, 16000, 20)) + "]\n"),
        words="its literals",
    ),
    "text in one number": Cheat(
        "carries it in a large number", Rule.SOURCE, table(f"T = 0x{'9f' * 16000}\n"), words="its literals"
    ),
    "text in format strings": Cheat(
        "carries it between the braces of format strings",
        Rule.SOURCE,
        table("x = 1\nT = [" + ",".join(f"f'{_TEXT[i : i + 20]}{{x}}'" for i in range(0, 16000, 20)) + "]\n"),
        words="its literals",
    ),
    "text in docstrings": Cheat(
        "carries it in the docstrings of functions",
        Rule.SOURCE,
        table("".join(f"def f{i}():\n    '''{_TEXT[i : i + 400]}'''\n" for i in range(0, 16000, 400))),
        words="its literals",
    ),
    "text in comments": Cheat("carries it in comments", Rule.SOURCE, table(f"# {_TEXT}\n"), words="its comments"),
    "text in names": Cheat(
        "carries it in the names of variables",
        Rule.SOURCE,
        table("".join(f"{_TEXT[i : i + 40]}{i} = 0\n" for i in range(0, 16000, 40))),
        words="its names",
    ),
    "text in the order of names": Cheat(
        "writes one of 256 two-letter names for each byte of the text",
        Rule.NEWS,
        table("T = lambda: (" + ",".join(_RANDOM.choices(_NAMES, k=8000)) + ")\n"),
    ),
    "text in the digits of a float": Cheat(
        "writes the text as decimals of one float and reads them in its own file",
        Rule.NEWS,
        table("x = 0." + "".join(_RANDOM.choices("0123456789", k=20_000)) + "\n"),
    ),
    "text in one number, in place of the shipped strings": Cheat(
        "leaves out what strings the shipped script has, and brings as much text in a number",
        Rule.NEWS,
        table(f"x = {_RANDOM.getrandbits(8 * 6000):#x}\n"),
    ),
    "source that parses for ever": Cheat(
        "is made so that parsing it takes all memory", Rule.PARSING, table("x = " + "-" * 60000 + "1\n")
    ),
}
LEAVING = FILES | SOURCES
