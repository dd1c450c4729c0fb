"""docs/redteam.md, made of the pack. `python tests/redteam/page.py` writes it; a test keeps it in step."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from redteam import honest  # noqa: E402
from redteam.candidates import Cheat, Rule  # noqa: E402
from redteam.cheats import CHEATS, GROUPS  # noqa: E402
from redteam.laboratory import ROOT  # noqa: E402
from redteam.remaining import REMAINING  # noqa: E402

PAGE = ROOT / "docs" / "redteam.md"
_HEAD = """# Red team

Training scripts that cheat, and honest ones that look unusual. `make test` runs them all as a node would: what is
caught has to be caught by the rule it stands here with, and nothing honest may be refused. This page is made from
`tests/redteam` by `python tests/redteam/page.py`; [trust.md](trust.md) explains the rules.
"""
_COUNT = """
{count} cheats: {refused} get no number, {scored} get the number they had without it or a worse one.
"""
_HONEST = """
## Honest scripts

All of these are measured and none is refused: {count}. Most are trained for some steps and then measured by the real
evaluator, in a sandbox, by two processes as always; {trained} go through whole trials. A changed source is asked
as many prefixes as a node asks.

| group | scripts | for example |
|---|---|---|
{rows}
"""
_INNOCENT = """
## Refused, though nobody means to cheat

Activations in int8 with *one scale for a whole batch*: an answer then depends on later text and on other windows. On
a model of Python source (2.1 bits per byte) 14 and 26 of 2,048 positions were more than 0.25 nats worse, in two
measurements. With a scale for each token, which looks at nothing else, the worst was 0.03, and it is measured.
"""
_REMAINING = """
## Known, and not caught

| attempt | what it does | what it is worth |
|---|---|---|
{rows}
Reading the validation text where no sandbox works, and peeking at fewer than one position in a thousand, remain, too:
see [trust.md](trust.md).
"""


def caught(cheat: Cheat) -> str:
    said = cheat.rule.meaning if not cheat.why else f"{cheat.rule.meaning}: {cheat.why}"
    return f"{said} ({cheat.rule.outcome})" if cheat.rule not in (Rule.SAME, Rule.NO_BETTER) else said


def rows(cells: list[tuple[str, ...]]) -> str:
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in cells)


def page() -> str:
    refused = sum(cheat.rule not in (Rule.SAME, Rule.NO_BETTER) for cheat in CHEATS.values())
    parts = [_HEAD, _COUNT.format(count=len(CHEATS), refused=refused, scored=len(CHEATS) - refused)]
    for group, members in GROUPS.items():
        table = rows([(name, cheat.does, caught(cheat)) for name, cheat in members.items()])
        parts.append(f"\n## {group}\n\n| cheat | what it does | what becomes of it |\n|---|---|---|\n{table}")
    groups = [(name, str(len(members)), ", ".join(list(members)[:4])) for name, members in honest.GROUPS.items()]
    groups.append(("whole trials", str(len(honest.TRAINED)), ", ".join(list(honest.TRAINED)[:4])))
    count = len(honest.MEASURED) + len(honest.TRAINED)
    parts.append(_HONEST.format(count=count, trained=len(honest.TRAINED), rows=rows(groups).rstrip()))
    known = rows([(name, one.does, one.worth) for name, one in REMAINING.items()])
    return "".join(parts) + _INNOCENT + _REMAINING.format(rows=known)


if __name__ == "__main__":
    PAGE.write_text(page())
