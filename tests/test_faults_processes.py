"""Peers that are killed, leave, come back, were copied or have a wrong clock: processes, libp2p and disks are real.

Each is a node's network side in a process of its own (swarm_of_processes). Nothing here asserts a speed;
tests/bench/bench_faults.py measures.
"""

import random
import shutil

import pytest

from tests.fault_plan import Deed, soak_plan
from tests.played_scenario import Player
from tests.swarm_of_processes import all_have, check_equal, each, process_swarm

HOUR = 3600.0  # seconds


@pytest.mark.long
async def test_after_sigkill_of_six_of_twenty_and_their_restart_everybody_has_everything(tmp_path):
    async with process_swarm(tmp_path) as swarm:
        peers = await swarm.grow(20)
        for peer in peers:
            await peer.publish(2)
        victims = [peers[0], *random.Random(30).sample(peers[1:], 5)]  # the first is where the others met
        for victim in victims:
            await victim.tell("publish 20")
        await each(victims[:3], lambda p: len(p.kept) >= 5, "some findings before it is killed")
        for victim in victims:
            await victim.kill()
        survivors = swarm.running()
        assert len(survivors) == 14
        for peer in survivors:
            await peer.publish()
        back = [await swarm.start(victim.name) for victim in victims]
        for victim, again in zip(victims, back, strict=True):
            assert again.peer_id == victim.peer_id
            assert again.ids >= set(victim.kept), "what was in the journal is there after SIGKILL"
        for peer in back:
            await peer.publish()
        everything = {id for peer in (*victims, *survivors, *back) for id in peer.ids}
        await all_have(swarm.running(), everything)
        await check_equal(swarm.running(), everything)
        assert not [text for peer in swarm.running() for text in peer.notices if "network stopped" in text]


async def test_the_swarm_outlives_its_bootstrap(tmp_path):
    async with process_swarm(tmp_path) as swarm:
        hub = await swarm.start("hub")
        one, two, three = [await swarm.start(name, [hub.address]) for name in ("one", "two", "three")]
        await each([one, two, three], lambda p: len(p.peers) == 3, "everybody")
        await hub.kill()
        await each([one, two, three], lambda p: hub.peer_id not in p.peers, "that the hub is gone")
        ids = [id for peer in (one, two, three) for id in await peer.publish()]
        await all_have([one, two, three], ids)
        await one.until(lambda p: any("no answer from bootstrap" in text for text in p.notices), "saying so")

        await one.leave()
        one = await swarm.start("one")  # its bootstrap is dead, but it has written down who else there is
        await one.until(lambda p: p.peers, "a peer without a bootstrap")
        ids += [*await one.publish(), *await two.publish()]
        await all_have([one, two, three], ids)

        hub = await swarm.start("hub")
        await two.until(lambda p: any("answers again" in text for text in p.notices), "saying so")
        assert len([text for text in two.notices if "no answer from bootstrap" in text]) == 1
        await all_have([hub], ids)
        await check_equal(swarm.running(), ids)


async def test_all_peers_of_a_node_go_and_come_back(tmp_path):
    async with process_swarm(tmp_path) as swarm:
        others = [await swarm.start(str(number)) for number in range(3)]
        alone = await swarm.start("alone", [peer.address for peer in others])
        await each([alone, *others], lambda p: p.peers, "a peer")
        ids = await others[0].publish(3)
        await all_have([alone, *others], ids)
        for peer in others:
            await peer.kill()
        await alone.until(lambda p: not p.peers, "that nobody is left")
        ids += await alone.publish(5)
        back = [await swarm.start(peer.name, ()) for peer in others]  # told of nobody: it has to find them again
        ids += await back[1].publish()
        await all_have([alone, *back], ids)
        await check_equal(swarm.running(), ids)


async def test_a_restarted_node_is_fully_back(tmp_path, record_property):
    async with process_swarm(tmp_path) as swarm:
        peers = await swarm.grow(5)
        await all_have(peers, await peers[2].publish())
        await peers[2].kill()
        missed = await peers[0].publish()
        back = await swarm.start("2")
        await back.until(lambda p: p.peers, "a peer")
        theirs, ours = await peers[0].publish(), await back.publish()
        others = [peer for peer in swarm.running() if peer is not back]
        await all_have([back], [*missed, *theirs])
        await all_have(others, ours)
        assert back.met_at is not None
        heard = back.got[theirs[0]] - max(back.met_at, peers[0].kept[theirs[0]])
        told = max(peer.got[ours[0]] for peer in others) - back.kept[ours[0]]
        for name, seconds in (("back_hears_seconds", heard), ("back_is_heard_seconds", told)):
            record_property(name, seconds)
            print(f"{name} {seconds:.3f}")


async def test_who_hangs_while_others_find_things_has_them_when_it_goes_on(tmp_path):
    async with process_swarm(tmp_path) as swarm:
        peers = await swarm.grow(4)
        hung, others = peers[2], [peers[0], peers[1], peers[3]]
        await hung.publish()
        hung.pause()
        ids = [id for peer in others for id in await peer.publish()]
        await all_have(others, ids)
        assert not hung.ids & set(ids), "it hangs"
        hung.resume()
        ids += list(hung.kept)
        ids += await hung.publish()
        await all_have(peers, ids)
        await check_equal(peers, ids)


@pytest.mark.long
async def test_kills_hangs_and_stops_at_random_instants_lose_nothing_among_twenty(tmp_path):
    plan = soak_plan(20, 25.0, 1.0, seed=4, parts=False, findings_per_second=2.0)
    async with process_swarm(tmp_path) as swarm:
        played = await Player(swarm, plan).play()
    told = [step for step in plan.steps if step.deed is Deed.PUBLISH]
    assert len(played.everything) >= len(told)
    assert played.missing == 0
    assert played.ledgers == 1
    assert len(played.states) == 20
    assert not [text for text in played.notices if "network stopped" in text]


async def test_two_stories_of_one_copied_identity_end_in_one_ledger_without_it(tmp_path):
    """Both copies were told to somebody before either heard of the other: nobody can say which one was first."""
    async with process_swarm(tmp_path) as swarm:
        left, right = await swarm.start("left"), await swarm.start("right")
        original = await swarm.start("original", [left.address])
        swarm.home("copy").mkdir()
        shutil.copy2(swarm.home("original") / "identity.key", swarm.home("copy") / "identity.key")
        copy = await swarm.start("copy", [right.address])
        assert copy.peer_id == original.peer_id
        await all_have([left], await original.publish(3))
        await all_have([right], await copy.publish(2))
        honest = [id for peer in (left, right) for id in await peer.publish()]

        judge = await swarm.start("judge", [left.address, right.address])
        honest += await judge.publish()
        trio_of_them = [left, right, judge]
        await all_have(trio_of_them, honest)
        said = "signed two records that contradict each other"
        await each(trio_of_them, lambda p: any(said in text for text in p.notices), "that there are two stories")
        await each(
            [original, copy], lambda p: any("both have written" in t for t in p.notices), "that it is one of them"
        )
        for peer in (original, copy):
            assert await peer.publish(), "it goes on in its own home"
        honest += await left.publish()
        await all_have(trio_of_them, honest)
        states = [await peer.state() for peer in trio_of_them]
        assert len({state["ledger"] for state in states}) == 1
        assert states[0]["findings"] == sorted(honest)


async def test_clocks_an_hour_wrong_and_clocks_that_jump_lose_nothing(tmp_path):
    async with process_swarm(tmp_path) as swarm:
        right = await swarm.start("right")
        ahead = await swarm.start("ahead", [right.address], wrong_by=HOUR)
        behind = await swarm.start("behind", [right.address], wrong_by=-HOUR)
        peers = [right, ahead, behind]
        await each(peers, lambda p: len(p.peers) == 2, "both others")
        ids = [id for peer in peers for id in await peer.publish(2)]
        await all_have(peers, ids)
        await ahead.tell(f"clock {-HOUR}")  # two hours back while it runs
        await behind.tell(f"clock {HOUR}")
        ids += [id for peer in peers for id in await peer.publish(2)]
        await all_have(peers, ids)

        await ahead.kill()
        ids += await right.publish()
        ahead = await swarm.start("ahead", wrong_by=-HOUR)
        peers = [right, ahead, behind]
        await all_have([ahead], ids)
        ids += [id for peer in peers for id in await peer.publish()]
        await all_have(peers, ids)
        await check_equal(peers, ids)
        assert not [text for peer in peers for text in peer.notices if "identity" in text or "kept out" in text]
