"""One running node, from what a person asked for to the exit: wiring, signals, and why it stopped.

Owns the root nursery and the order of starting and stopping. Every part is made somewhere else.
"""

import math
import os
import signal
from dataclasses import replace
from functools import partial

import trio

from gossip.blobs import OfferedBlobs
from gossip.identity import Identity, load_or_create
from gossip.refusal import GossipError
from node.allocator import give_back_what_is_freed
from node.branches.quotas import FILE_NAME as KEPT_BRANCHES
from node.branches.service import Branches
from node.branches.serving import Serving
from node.browse.server import PageServer, open_page
from node.claims import Claims
from node.clock import wall_clock
from node.events import Events, NodeStarted, Preparing, Stopped
from node.home import HomeError
from node.hypothesis import Hypotheses, unmoved
from node.ideas import check_branch, with_peer_code
from node.journal import Journal
from node.launching import Launch, UsageError, proposer_of, settings_of, swarm_key_of
from node.metrics_server import MetricsAddress, MetricsServer
from node.names import friendly_name
from node.network import Network, NetworkSettings, ticket_peers
from node.notebook import Notebook
from node.proposers.auto import DIRECTION_FILE, Auto
from node.proposers.classic import Classic
from node.proposers.port import Proposer
from node.recording import Recorder, recover
from node.replays.alone import expected_failure
from node.replays.replayer import Replayer
from node.replays.request import ReplayRequests
from node.research import Lab, research
from node.results.pushing import Pusher
from node.results.repository import open_results
from node.room import Room
from node.sandbox.confinement import Confinement
from node.sandbox.policy import Backend
from node.sandbox.probe import probe
from node.screen import Screen
from node.smoke_filter import SmokeFilter
from node.state import StateFile
from node.steering import Helm
from node.text import clean
from node.topics.joining import Joining, check_code
from node.topics.loading import Topic, load_topic
from node.trials.hardware import Hardware, default_budget_seconds, detect
from node.trials.local import make_local_trainer
from swarm.finding import Track
from swarm.words import BriefId, SwarmError, short

FAREWELL_SECONDS = 2.0  # after a signal, for telling others what was not told yet


class Stop:
    """What a signal ends: the start, or once there is work the work, so that others can be told."""

    def __init__(self) -> None:
        self.starting, self.working = trio.CancelScope(), trio.CancelScope()
        self._scope = self.starting

    def work_begins(self) -> trio.CancelScope:
        self._scope = self.working
        return self.working

    @property
    def asked(self) -> bool:
        return self.starting.cancel_called or self.working.cancel_called

    def ask(self) -> None:
        self._scope.cancel()


async def run_node(launch: Launch, screen: Screen) -> None:
    """Run until there is a reason to stop. Raises SwarmError or GossipError for expected failures."""
    give_back_what_is_freed()
    events = Events()
    events.listen(screen.show)
    settings, proposer = settings_of(launch), proposer_of(launch, events)
    launch.home.create()
    if problem := Room(launch.home.path, events).lacking():
        raise HomeError(f"{problem}: make room, or choose another --home")
    with launch.home.lock():
        try:
            async with trio.open_nursery() as nursery:
                stop = Stop()
                nursery.start_soon(_stop_on_signal, stop, events, screen)
                with stop.starting:  # of its own: signals are heard until the work has ended, too
                    await _work(launch, events, settings, proposer, stop)
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            raise expected_failure(group) from None


async def _work(launch: Launch, events: Events, settings: NetworkSettings, proposer: Proposer, stop: Stop) -> None:
    identity = load_or_create(launch.home.key)
    hardware = await trio.to_thread.run_sync(detect)
    confinement = replace(await trio.to_thread.run_sync(probe, hardware), unsafe=launch.unsafe)
    if launch.peer_code and launch.train and confinement.backend is Backend.NONE:
        raise UsageError("--peer-code needs a sandbox, and none works here: `swarm doctor` says how to get one")
    if launch.ticket is not None:  # a conflict is said before anything is fetched with the ticket
        swarm_key_of(launch, BriefId(launch.ticket.brief))
    topic = await _load_topic(launch, events, identity, confinement, settings)
    settings = replace(settings, swarm_key=swarm_key_of(launch, topic.brief_id))
    budget_s = launch.budget_s or default_budget_seconds(hardware, topic.brief.budgets)
    track = Track(hardware_class=hardware.hardware_class, budget_seconds=budget_s)
    launch.home.save_brief(topic.brief_id, topic.brief_bytes)
    journal = Journal(launch.home.journal)
    try:
        node = Node(launch, events, identity, topic, hardware, track, confinement, journal, settings, proposer)
        await node.run(stop)
    finally:
        journal.close()


async def _load_topic(
    launch: Launch, events: Events, identity: Identity, confinement: Confinement, settings: NetworkSettings
) -> Topic:
    """The topic, its text ready: by its name or file, or, with a ticket alone, from whoever has it."""
    ticket = launch.ticket
    if launch.topic is None:
        assert ticket is not None, "neither a topic nor a ticket"
        peers = ticket_peers(launch.home, identity, ticket, settings, events)
        return await Joining(
            ticket, launch.home, peers, events, partial(check_code, confinement=confinement, trains=launch.train)
        ).topic()

    def progress(what: str, done: int, total: int | None) -> None:
        trio.from_thread.run_sync(events.emit, Preparing(what=what, done=done, total=total))

    topic = await trio.to_thread.run_sync(
        load_topic, launch.topic, launch.home.corpora, progress, abandon_on_cancel=True
    )
    if ticket is not None and ticket.brief != topic.brief_id:
        raise UsageError(
            f"the ticket is for another {ticket.topic!r} (brief {short(ticket.brief)}, here it is "
            f"{short(topic.brief_id)}): leave out --topic, then what the ticket is for comes from its peers"
        )
    return topic


class Node:
    """The parts of one running node."""

    def __init__(
        self,
        launch: Launch,
        events: Events,
        identity: Identity,
        topic: Topic,
        hardware: Hardware,
        track: Track,
        confinement: Confinement,
        journal: Journal,
        settings: NetworkSettings,
        proposer: Proposer,
    ) -> None:
        self._launch = launch
        self._events = events
        self._hardware = hardware
        self._track = track
        self._confinement = confinement
        self._topic = topic
        home = launch.home
        name = clean(launch.name or str(home.read_state().get("name") or ""), 40)
        self._name = name or friendly_name(identity.peer_id)
        self._state = StateFile(home)
        events.listen(self._state.hear, first=True)
        self._notebook = Notebook(topic.brief, journal.of(topic.brief_id), identity, events)
        self._results = open_results(home.results, identity.peer_id, topic.brief.name, self._name)
        self._claims = Claims(self._notebook, track)
        serving = Serving(home.results, topic.brief.name, identity.peer_id, home.path / KEPT_BRANCHES)
        offered = OfferedBlobs(topic.blobs())
        self._network = Network(home, identity, self._notebook, settings, events, offered, self._claims, serving)
        self._branches = Branches(
            home, identity, self._notebook, self._results, self._network, serving, events,
            mode=launch.branches, quota_bytes=launch.fetch_quota_mb << 20,
        )  # fmt: skip
        self._proposer = proposer
        self._pusher = Pusher(self._results, launch.remote, events) if launch.remote else None
        room = Room(home.path, events)
        helm = Helm.take(home, topic.brief_id, topic.brief, events)
        self._state.begin(topic.brief_id)
        ideas = with_peer_code(
            proposer, launch.proposer, launch.peer_code, launch.agent_command, hardware, confinement, events
        )
        self._tries_peer_code = launch.train and ideas is not proposer
        model = proposer if isinstance(proposer, Auto) else None
        self._lab = Lab(
            name=self._name,
            track=track,
            notebook=self._notebook,
            hypotheses=Hypotheses(
                self._notebook,
                track,
                ideas,
                Classic(),
                code_may_change=confinement.code_may_change,
                claims=self._claims,
                smoke_filter=SmokeFilter(self._notebook, events),
                helm=helm,
                moved=model.spending.moved if model else unmoved,
                events=events,
            ),
            recorder=Recorder(self._notebook, self._results, room, events, helm, model),
            room=room,
            events=events,
            replays=Replayer(
                self._name, self._notebook, hardware.hardware_class, confinement, ReplayRequests(home), room, events
            ),
            reason_to_stop=self._reason_to_stop,
            stops_early=launch.early_stop,
        )

    async def run(self, stop: Stop) -> None:
        reason = "asked to stop"
        try:
            async with trio.open_nursery() as nursery:
                metrics = await self._serve_metrics(nursery)
                page = open_page(self._launch.home, self._launch.page, self._events)
                if page is not None:
                    nursery.start_soon(page.run)
                await self._results.prepare()
                await self._branches.heal()
                recovered = await recover(self._notebook, self._results, self._events)
                self._events.emit(self._introduction(page))
                if metrics:
                    self._events.notice(f"metrics at http://{metrics}/metrics")
                if recovered:
                    self._events.notice(f"took {recovered} findings from the branch that the journal did not have")
                nursery.start_soon(self._state.run)
                nursery.start_soon(self._network.run)
                nursery.start_soon(self._branches.run)
                if self._pusher is not None:
                    self._notebook.when_own(self._pusher.wake)
                    nursery.start_soon(self._pusher.run)
                with stop.work_begins():
                    reason = await self._work_until_stopped(nursery)
                with trio.move_on_after(FAREWELL_SECONDS if stop.working.cancelled_caught else math.inf):
                    await self._farewell()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if isinstance(failure := expected_failure(group), SwarmError | GossipError):
                reason = str(failure)
            raise
        finally:
            self._say_goodbye(reason)

    async def _farewell(self) -> None:
        """What others are told at the end: what is claimed no more, and the last findings."""
        self._claims.give_up()
        await self._network.flush()
        await self._branches.flush()
        if self._pusher is not None:
            await self._pusher.flush()

    async def _serve_metrics(self, nursery: trio.Nursery) -> MetricsAddress | None:
        """Where they are, if anybody wants them. Raises MetricsError."""
        if (wanted := self._launch.metrics) is None:
            return None
        port = await nursery.start(MetricsServer(wanted, self._metrics).run)
        return replace(wanted, port=port)

    def _metrics(self) -> tuple[str, bytes]:
        from node.metrics import CONTENT_TYPE, exposition  # 60 ms to import

        return CONTENT_TYPE, exposition(self._state.facts(), self._network.facts(), running=True)

    async def _work_until_stopped(self, nursery: trio.Nursery) -> str:
        """At the time of --until a running trial is given up: the machine belongs to its owner again."""
        until = self._launch.until
        deadline = math.inf if until is None else trio.current_time() + max(0.0, until - wall_clock())
        with trio.CancelScope(deadline=deadline):
            if self._launch.train:
                return await self._research(nursery)
            await trio.sleep_forever()
        return "the time given by --until has come"

    async def _research(self, nursery: trio.Nursery) -> str:
        """One worker on one device; a worker more is a trainer more and a `research` more, in the same lab."""
        check_branch(self._notebook, self._track, self._confinement)
        trainer = make_local_trainer(
            self._topic.brief.corpus,
            self._topic.shards,
            self._launch.home.scratch / "worker-0",
            self._hardware,
            self._confinement,
            notice=lambda text: self._events.notice(text, warning=True),
        )
        nursery.start_soon(trainer.run)
        if isinstance(self._proposer, Auto):
            self._proposer.load(await self._results.read_latest(DIRECTION_FILE))
            nursery.start_soon(self._proposer.run)
        await self._lab.hypotheses.load(self._results)
        return await research(self._lab, trainer)

    def _reason_to_stop(self, experiments: int) -> str | None:
        limit = self._launch.max_experiments
        return f"{experiments} experiments are done" if limit is not None and experiments >= limit else None

    def _introduction(self, page: PageServer | None) -> NodeStarted:
        home = self._launch.home
        return NodeStarted(
            name=self._name,
            peer_id=self._notebook.me,
            topic=self._topic.name,
            brief_id=self._topic.brief_id,
            hardware_class=self._hardware.hardware_class,
            hardware=self._hardware.description,
            sandbox=self._confinement.describe() + ("; peers' code is tried, too" if self._tries_peer_code else ""),
            budget_s=self._track.budget_seconds,
            proposer=self._proposer.name if self._launch.train else "none",
            home=str(home.path),
            results_repository=str(home.results),
            branch=self._results.branch,
            findings=len(self._notebook.own()),
            dashboard=page.url if page else None,
        )

    def _say_goodbye(self, reason: str) -> None:
        best = self._notebook.ledger.branch_best(self._notebook.me, self._track)
        share = self._state.training_share
        self._events.emit(
            Stopped(
                reason=reason,
                experiments=self._lab.experiments,
                best_val_bpb=best.val_bpb if best else None,
                training_share=share,
            )
        )
        self._state.write()


async def _stop_on_signal(stop: Stop, events: Events, screen: Screen) -> None:
    """The first signal stops cleanly, a second one at once."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.asked:
                screen.close()  # a terminal gets its cursor back
                os._exit(130)
            word = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            events.notice(f"{word}: stopping; what was found is safe")
            stop.ask()
