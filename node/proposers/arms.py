"""The arms of the portfolio: ways to have an idea, each alone behind one port.

Owns what an arm is and the simple arms. Which arm is asked is the bandit's business, whether an idea is worth a trial
the screening's. An arm that has nothing to say here and now answers None.
"""

import random
from typing import Protocol

from node.proposers.ablate import take_back
from node.proposers.cma_es import CmaEs
from node.proposers.draws import anywhere
from node.proposers.moves import Draft, combine, find_sources, tune
from node.proposers.port import Request
from node.proposers.tpe import Tpe
from swarm.words import Operator


class Arm(Protocol):
    """A way to have an idea. Pure: a request and a random.Random in, a draft out."""

    @property
    def name(self) -> str:
        """What a proposal's `proposer` says after 'classic/'."""
        ...

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        """An idea, not yet checked for being new; another call gives another. None: nothing to say."""
        ...


class Random:
    """Anywhere in the space: what every other arm has to beat."""

    name = "random"

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        config = {name: anywhere(p, rng) for name, p in request.brief.space.parameters.items()}
        return Draft(config, Operator.TUNE, "Drawn at random from the whole search space.")


class Local:
    """A step from the branch's best."""

    name = "local"

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        return tune(request, rng)


class Crossover:
    """Somebody's winning change, put onto our best; news that beats our best first."""

    name = "crossover"

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        sources = find_sources(request)
        news = [source for source in sources if source.drained]
        return combine(request, rng, news or sources)


class Ablate:
    """An earlier change taken back: simpler at equal score is a win."""

    name = "ablate"

    def draw(self, request: Request, rng: random.Random) -> Draft | None:
        return take_back(request, rng)


ARMS: tuple[Arm, ...] = (Random(), Local(), Tpe(), CmaEs(), Crossover(), Ablate())
