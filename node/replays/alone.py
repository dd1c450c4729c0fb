"""A replay in a home where no node runs: takes the home, gets text, sandbox and trainer ready, runs one, and leaves.

Owns the order of these, cheap refusals first. Like a node it first takes back what a killed one left on the branch, so
that the replay gets its right place in the log.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from gossip.identity import load_or_create
from gossip.refusal import GossipError
from node.events import Events, Preparing
from node.home import Home
from node.journal import Journal
from node.names import friendly_name
from node.notebook import Notebook
from node.recording import recover
from node.replays.replayer import Replayer
from node.replays.request import ReplayRequest, ReplayRequests
from node.results.repository import open_results
from node.room import Room
from node.sandbox.confinement import Confinement
from node.sandbox.probe import probe
from node.text import clean
from node.topics.joining import check_code
from node.topics.loading import Topic, adopt_topic
from node.trials.hardware import Hardware, detect
from node.trials.local import make_local_trainer
from node.trials.trainer import Watcher
from swarm.brief import Brief
from swarm.ledger import ReplayEntry
from swarm.words import BriefId, SwarmError

LOOK_SECONDS = 0.25  # the node tells nobody when it has done one; files are cheap to look at


@dataclass(frozen=True)
class Here:
    """This machine, as a replay needs to know it."""

    hardware: Hardware
    confinement: Confinement


async def look_around() -> Here:
    hardware = await trio.to_thread.run_sync(detect, abandon_on_cancel=True)
    return Here(hardware, await trio.to_thread.run_sync(probe, hardware, abandon_on_cancel=True))


async def replay_alone(
    home: Home,
    brief: Brief,
    topic_file: str | None,  # where the topic's text comes from, if it is neither here nor shipped
    request: ReplayRequest,
    here: Here,
    events: Events,
    watcher: Watcher,
) -> ReplayEntry:
    """Raises SwarmError or GossipError. Cancelled, it ends within a second and has recorded nothing."""
    journal: Journal | None = None
    check_code(brief, confinement=here.confinement, trains=True)  # it may have come from a peer
    with home.lock():
        try:
            identity = load_or_create(home.key)
            journal = Journal(home.journal)
            notebook = Notebook(brief, journal.of(request.brief), identity, events)
            name = clean(str(home.read_state().get("name") or ""), 40) or friendly_name(identity.peer_id)
            room, requests = Room(home.path, events), ReplayRequests(home)
            hardware, confinement = here.hardware, here.confinement
            replayer = Replayer(name, notebook, hardware.hardware_class, confinement, requests, room, events)
            replayer.plan(request)  # what cannot be done is said before anything is prepared
            results = open_results(home.results, identity.peer_id, brief.name, name)
            await results.prepare()
            await recover(notebook, results, events)
            topic = await _text(home, request.brief, topic_file, events)
            scratch, warn = home.scratch / "worker-0", partial(events.notice, warning=True)
            trainer = make_local_trainer(brief.corpus, topic.shards, scratch, hardware, confinement, warn)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trainer.run)
                made = await replayer.run_one(request, trainer, watcher)
                nursery.cancel_scope.cancel()
            return made
        except BaseExceptionGroup as group:
            raise expected_failure(group) from None
        finally:
            if journal is not None:
                journal.close()


async def _text(home: Home, id: BriefId, topic_file: str | None, events: Events) -> Topic:
    """The brief's own shards, their hashes checked; made again where they are missing or changed."""

    def progress(what: str, done: int, total: int | None) -> None:
        trio.from_thread.run_sync(events.emit, Preparing(what=what, done=done, total=total))

    brief = (home.briefs / f"{id}.json").read_bytes()
    return await trio.to_thread.run_sync(adopt_topic, brief, home.corpora, progress, topic_file, abandon_on_cancel=True)


def expected_failure(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The expected failure in a group of exceptions, if there is one; else the group, which is a bug to be shown."""
    leaf: BaseException | None = group.subgroup((SwarmError, GossipError))
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf or group


async def wait_for_node(home: Home, requests: ReplayRequests, path: Path) -> bool:
    """Until the running node has done a request: True. False: it is gone, and the request is still there.

    Raises ReplayRefused if the node refused it.
    """
    while not requests.answered(path):
        if not home.running():
            return requests.answered(path)
        await trio.sleep(LOOK_SECONDS)
    return True
