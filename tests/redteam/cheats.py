"""All cheats of the pack, in the groups in which people read of them."""

from redteam.candidates import Cheat
from redteam.leaving import FILES, SOURCES
from redteam.outside import OUTSIDE
from redteam.peeking import LATER, MEMORY, MISTAKES
from redteam.taking import BROKEN, CLOCKS, GREED
from redteam.tampering import CHANNEL, NUMBERS

UNCONFINED: dict[str, dict[str, Cheat]] = {
    "Text that comes later": LATER,
    "Mistakes that look like progress": MISTAKES,
    "Text that was seen elsewhere": MEMORY,
    "The channel": CHANNEL,
    "The numbers": NUMBERS,
    "What a training leaves": FILES,
    "What a source brings along": SOURCES,
    "The clock": CLOCKS,
    "Bad input": BROKEN,
    "Time, memory, disk, processes": GREED,
}
GROUPS = {**UNCONFINED, "What lies outside (in a sandbox)": OUTSIDE}
EVALUATED = {name: cheat for group in UNCONFINED.values() for name, cheat in group.items()}
CHEATS = {**EVALUATED, **OUTSIDE}
assert len(CHEATS) == sum(map(len, GROUPS.values())), "two cheats of one name"
