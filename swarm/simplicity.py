"""How simple a candidate is: less code or fewer changes wins at equal score.

Sizes only, no judgement of style: the number of settings that differ from the brief's base config, and the number of
words and signs of the source outside comments.
"""

import re
from dataclasses import dataclass

from swarm.brief import Brief
from swarm.space import changes
from swarm.words import Config

_COMMENT = re.compile(r"(?m)#.*$")  # also inside a string: the same for everybody, which is all that matters
_TOKEN = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Size:
    changed_settings: int
    source_tokens: int


def size(config: Config, source: str | None, brief: Brief) -> Size:
    """`source`: None is the brief's own."""
    return Size(len(changes(brief.base_config, config)), source_tokens(brief.source if source is None else source))


def source_tokens(source: str) -> int:
    return len(_TOKEN.findall(_COMMENT.sub("", source)))


def simpler(candidate: Size, parent: Size) -> bool:
    """Smaller in one respect and not larger in the other."""
    return (
        candidate != parent
        and candidate.changed_settings <= parent.changed_settings
        and candidate.source_tokens <= parent.source_tokens
    )
