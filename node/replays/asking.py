"""`swarm replay` from a finding's name to the record: by the node that runs in this home, or here if none does.

Owns which of the two, and the way from one to the other when the node ends meanwhile. Printing is the command's.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from node import views
from node.events import Events
from node.home import Home
from node.imported import refuse_work_on
from node.replays.alone import Here, look_around, replay_alone, wait_for_node
from node.replays.plan import Bench, called, plan
from node.replays.request import ReplayRefused, ReplayRequest, ReplayRequests
from node.topics.loading import describe_topic
from node.trials.trainer import Job, Watcher
from swarm.brief import Brief
from swarm.ledger import Entry
from swarm.words import PeerId, Standing, SwarmError


@dataclass(frozen=True)
class Asked:
    """What is to be replayed, and how it stands before."""

    home: Home
    request: ReplayRequest
    brief: Brief
    me: PeerId
    entry: Entry
    standing: Standing
    known: frozenset[str]  # replays of it from before
    topic_file: str | None

    @property
    def name(self) -> str:
        return called(self.me, self.entry)


def ask(home: Home, topic: str | None, reference: str, steps: int | None) -> Asked:
    """Raises SwarmError: no such home, topic or finding. `topic`: a name, a brief id, or a topic file."""
    file = topic if topic is not None and (topic.endswith(".toml") or "/" in topic) else None
    name = describe_topic(file).name if file else topic
    with views.open_archive(home, name) as archive:
        refuse_work_on(home, archive.brief_id)
        try:
            entry = views.find(archive, reference)
        except views.NothingFound as error:
            raise _elsewhere(archive, reference) or error from None
        request = ReplayRequest(brief=archive.brief_id, finding=entry.id, steps=steps)
        known = frozenset(one.id for one in archive.ledger.replays(entry.id))
        standing = archive.ledger.standing(entry)
        return Asked(home, request, archive.brief, archive.me, entry, standing, known, file)


def _elsewhere(archive: views.Archive, reference: str) -> SwarmError | None:
    """A finding of another topic of this home is said to be one."""
    for path in sorted(archive.home.briefs.glob("*.json")):
        if path.stem == archive.brief_id:
            continue
        with views.open_archive(archive.home, path.stem) as other:
            if len(reference) >= views.LEAST_ID_CHARACTERS and other.ledger.find(reference.lower()):
                return views.NothingFound(
                    f"{reference!r} is a finding of topic {other.brief.name}, not of {archive.brief.name}; add --topic "
                    f"{other.brief.name}"
                )
    return None


async def look(asked: Asked) -> tuple[Here, Job]:
    """This machine, and what would be run. Raises ReplayRefused before anything is prepared or asked of a node."""
    here = await look_around()
    bench = Bench(asked.me, asked.brief, here.hardware.hardware_class, here.confinement)
    return here, plan(bench, asked.entry, asked.request.steps, random.SystemRandom())


async def replay(
    asked: Asked, here: Here, events: Events, watcher: Watcher, on_wait: Callable[[dict[str, Any]], None]
) -> None:
    """Until it is recorded. `on_wait` gets the running node's state once the request is queued. Raises SwarmError."""
    home, requests = asked.home, ReplayRequests(asked.home)
    if home.running():
        path = requests.put(_for_node(asked))
        on_wait(home.read_state())
        if await wait_for_node(home, requests, path):
            return
        requests.withdraw(path)
    await replay_alone(home, asked.brief, asked.topic_file, asked.request, here, events, watcher)


def _for_node(asked: Asked) -> ReplayRequest:
    """Raises ReplayRefused when the node that runs here would never come to it."""
    state = asked.home.read_state()
    if state.get("brief_id", asked.request.brief) != asked.request.brief:
        raise ReplayRefused(
            f"the node that runs in {asked.home.path} works on topic {state.get('topic')}, this is a finding of "
            f"{asked.brief.name}: stop it first, or replay it from another home"
        )
    if state.get("proposer") == "none":
        raise ReplayRefused(f"the node that runs in {asked.home.path} does not train (--no-train): stop it first")
    return asked.request


def outcome(asked: Asked) -> views.Json:
    """What came of it, once it is recorded. Raises ReplayRefused when the node did not record it."""
    with views.open_archive(asked.home, asked.request.brief) as archive:
        made = [one for one in archive.ledger.replays(asked.entry.id) if one.author == archive.me]
        new = [one for one in made if one.id not in asked.known and one.replay.steps == asked.request.steps]
        if not new:
            raise ReplayRefused(f"{asked.name} was not replayed: the node gave the request up")
        return views.replay(archive, asked.entry, new[-1]) | {"standing_before": asked.standing.value}
