"""Cheats that reach for what is not theirs. Only a sandbox stops these: they run in the strongest that works here."""

from redteam.candidates import Cheat, Rule, answers, table, trains

_SHARDS = "os.path.dirname(arguments['--train'])"
_PLACES = "['/tmp', '/var/tmp', '/dev/shm', os.path.expanduser('~'), '..', '../..']"
OUTSIDE = {
    "trains on the validation text": Cheat(
        "reads the validation shard, which lies beside the train shard",
        Rule.SANDBOX,
        trains(f"open({_SHARDS} + '/validation.bin', 'rb').read()"),
        words="validation.bin",
    ),
    "searches the disk for the validation text": Cheat(
        "looks into every folder from the train shard upwards",
        Rule.SANDBOX,
        trains(f"""
place = {_SHARDS}
while place != '/':
    for name in os.listdir(place):
        print(place, name)
    place = os.path.dirname(place)
"""),
        words="PermissionError",
    ),
    "reads the train shard while it is measured": Cheat(
        "opens the train shard when it is asked, to look up what it could not remember",
        Rule.FAILED,
        answers("open(PLACE, 'rb').read()\nreturn honest(self, tokens)", "PLACE = '@train@'"),
        words="PermissionError|FileNotFoundError",
    ),
    "fetches the validation text": Cheat(
        "opens a connection to somewhere else",
        Rule.SANDBOX,
        trains("socket.create_connection(('127.0.0.1', 9), 1)"),
        words="PermissionError",
    ),
    "reads the node's memory": Cheat(
        "opens the memory of the processes above it",
        Rule.SANDBOX,
        trains("open(f'/proc/{os.getppid()}/mem', 'rb')"),
        words="PermissionError|FileNotFoundError",
    ),
    "changes the worker on disk": Cheat(
        "opens answer.py and torch for writing",
        Rule.SANDBOX,
        trains("open(torch.__file__, 'ab').close()"),
        words="PermissionError|Read-only|OSError",
    ),
    "stale weights of an earlier trial, put away": Cheat(
        "puts its weights wherever a later trial could find them, and leaves none",
        Rule.NO_WEIGHTS,
        trains(f"""
content = open(arguments['--out'] + '/weights.safetensors', 'rb').read()
os.unlink(arguments['--out'] + '/weights.safetensors')
for place in {_PLACES}:
    try: open(place + '/redteam-stale', 'wb').write(content)
    except OSError: pass
"""),
    ),
    "stale weights of an earlier trial, found": Cheat(
        "trains nothing and looks wherever the trial before could have put its weights",
        Rule.NO_WEIGHTS,
        table(f"""
def save_model(model, path):
    for place in {_PLACES}:
        try: os.link(place + '/redteam-stale', path)
        except OSError: pass
"""),
    ),
    "notes in a folder elsewhere": Cheat(
        "leaves notes for the process that is asked again wherever it can write",
        Rule.POSITION,
        answers(
            f"""
notes, rows = {{}}, tokens.tolist()
for place in {_PLACES}:
    try: notes.update(json.load(open(place + '/redteam-notes')))
    except (OSError, ValueError): pass
logits = honest(self, tokens)
if tokens.shape[1] < 32:
    for b, row in enumerate(rows):
        if str(row) in notes: logits[b, -1, notes[str(row)]] += 20
    return logits
notes.update({{str(row[:t]): row[t] for row in rows for t in range(1, 32)}})
for place in {_PLACES}:
    try: json.dump(notes, open(place + '/redteam-notes', 'w'))
    except OSError: pass
return peek(logits, tokens, torch.ones_like(tokens, dtype=torch.bool))
"""
        ),
    ),
    "a child for the time between": Cheat(
        "starts a process that would carry notes from one measurement to the next",
        Rule.SANDBOX,
        trains("import subprocess\nsubprocess.Popen(['sleep', '99'], start_new_session=True)"),
        words="PermissionError",
    ),
}
