"""Cheats that take more than they were given: time, memory, disk, processes; and plain bad input."""

from redteam.candidates import Cheat, Rule, answers, table, trains

CLOCKS = {
    "its own time": Cheat(
        "stops the clocks it can reach and trains until they move",
        Rule.DEADLINE,
        table("time.time = time.monotonic = lambda: 0.0\ndef after(arguments):\n    while time.time() < 1: pass\n"),
    ),
    "never exits": Cheat("sleeps when it has trained", Rule.DEADLINE, trains("time.sleep(999)")),
    "ignores signals": Cheat(
        "ignores and blocks every signal it can, and stays",
        Rule.DEADLINE,
        trains("""
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
time.sleep(999)
"""),
    ),
    "another deadline for itself": Cheat(
        "starts itself again with a budget of an hour",
        Rule.DEADLINE,
        table("""
if __name__ == '__main__' and 'again' not in sys.argv:
    at = sys.argv.index('--seconds') + 1
    os.execv(sys.executable, [sys.executable, *sys.argv[:at], '3600', *sys.argv[at + 1 :], 'again'])
def after(arguments): time.sleep(float(arguments['--seconds']))
"""),
    ),
    "stops itself": Cheat(
        "stops its own process, so that it never ends", Rule.DEADLINE, trains("os.kill(os.getpid(), signal.SIGSTOP)")
    ),
    "stops whoever started it": Cheat(
        "stops the process that would have to kill it",
        Rule.DEADLINE,
        trains("os.kill(os.getppid(), signal.SIGSTOP)\ntime.sleep(999)"),
    ),
}
BROKEN = {
    "an exception": Cheat(
        "fails while it trains", Rule.CRASH, trains("raise KeyError('width')"), words="KeyError: 'width'"
    ),
    "no Python": Cheat("is no Python at all", Rule.CRASH, "def build_model(:\n", words="SyntaxError|invalid syntax"),
    "no model": Cheat(
        "has no build_model", Rule.FAILED, table("if __name__ != '__main__': del build_model\n"), words="AttributeError"
    ),
    "leaves with status 0 before it trains": Cheat(
        "ends at once and well, without weights", Rule.NO_WEIGHTS, "raise SystemExit(0)\n"
    ),
    "says that it diverged": Cheat(
        "leaves with the status of a diverged training, and weights",
        Rule.DIVERGED,
        trains("os._exit(3)"),
    ),
}
GREED = {
    "forks without end": Cheat(
        "forks children that fork children",
        Rule.MEMORY,  # each child counts with all the memory it sees
        trains("for _ in range(7): os.fork()\ntime.sleep(9)"),
        or_rule=Rule.LIMIT,
    ),
    "threads without end": Cheat(
        "starts more threads than it may",
        Rule.LIMIT,
        trains("for _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()\ntime.sleep(9)"),
        words="processes and threads",
    ),
    "fills the disk": Cheat(
        "writes files until there is no room",
        Rule.LIMIT,
        trains("""
for number in range(100):
    open(f'full{number}', 'wb').write(bytes(2 << 20))
    time.sleep(0.005)
time.sleep(9)
"""),
        words="MiB of files",
    ),
    "fills the disk with a deleted file": Cheat(
        "writes to a file that it has deleted",
        Rule.LIMIT,
        trains(
            "file = open('gone', 'wb')\nos.unlink('gone')\nfile.write(bytes(120 << 20))\nfile.flush()\ntime.sleep(9)"
        ),
        words="MiB of files",
    ),
    "very many files": Cheat(
        "makes more files than anybody could want",
        Rule.LIMIT,
        trains("for n in range(900): open(f'{n}', 'w').close()\ntime.sleep(9)"),
        words="files and folders",
    ),
    "prints without end": Cheat(
        "prints a gigabyte",
        Rule.LIMIT,
        trains("for _ in range(1024): os.write(1, b'x' * (1 << 20))\ntime.sleep(9)"),
        words="MiB printed",
    ),
    "one line without end": Cheat(
        "prints a progress line of ten megabytes",
        Rule.SAME,
        trains("os.write(1, b'{\"event\": \"progress\", \"step\": ' + b'9' * (10 << 20) + b'}\\n')"),
        why="of what is printed the node keeps 64 KB, and no line beyond 4 KB is looked at",
    ),
    "takes all memory": Cheat(
        "takes memory until there is none",
        Rule.MEMORY,
        trains("held = [np.ones(8 << 20) for _ in range(20)]\ntime.sleep(9)"),
        words="MiB of memory",
    ),
    "takes all memory while it answers": Cheat(
        "takes memory until there is none, when it is asked",
        Rule.MEMORY,
        answers("held = [np.ones(8 << 20) for _ in range(20)]\ntime.sleep(9)"),
        words="measuring: .* MiB of memory",
    ),
    "forks while it answers": Cheat(
        "forks children that fork children, when it is asked",
        Rule.MEMORY,
        answers("for _ in range(7): os.fork()\ntime.sleep(9)"),
        words="measuring: ",
        or_rule=Rule.LIMIT_MEASURED,
    ),
    "threads while it answers": Cheat(
        "starts more threads than it may, when it is asked",
        Rule.LIMIT_MEASURED,
        answers("for _ in range(99): threading.Thread(target=time.sleep, args=(9,)).start()\ntime.sleep(9)"),
        words="processes and threads",
    ),
}
TAKING = CLOCKS | BROKEN | GREED
