import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gossip.address_book import MAX_ADDRESSES, MAX_ADDRESSES_PER_PEER, AddressBook, Source
from gossip.identity import Identity

PEERS = [Identity(n.to_bytes(32, "big")).peer_id for n in range(1, 12)]
OWN = PEERS[0]


def address(peer: int, port: int = 4001) -> str:
    return f"/ip4/10.0.0.{peer}/tcp/{port}/p2p/{PEERS[peer]}"


def book() -> AddressBook:
    return AddressBook(OWN, Random(1))


def test_a_new_address_is_due_at_once() -> None:
    known = book()
    known.learn([address(1)], Source.PEER)
    assert known.due(0.0, set(), 8) == [address(1)]


def test_ourselves_and_nonsense_are_not_written_down() -> None:
    known = book()
    known.learn([address(0), "nonsense", "/ip4/10.0.0.1/tcp/1"], Source.GIVEN)
    assert len(known) == 0


def test_one_address_of_each_peer_that_is_not_busy() -> None:
    known = book()
    known.learn([address(1, 1), address(1, 2), address(2), address(3)], Source.PEER)
    due = known.due(0.0, {PEERS[3]}, 8)
    assert len(due) == 2
    assert {text.rsplit("/", 1)[1] for text in due} == {PEERS[1], PEERS[2]}
    assert known.due(0.0, set(), 0) == []


def test_failures_back_off_and_success_forgets_them() -> None:
    known = book()
    known.learn([address(1)], Source.PEER)
    known.failed(address(1), 100.0)
    assert not known.is_due(address(1), 101.0)
    assert known.is_due(address(1), 102.0)
    known.failed(address(1), 102.0)
    assert not known.is_due(address(1), 105.0)
    known.succeeded(address(1), 110.0)
    assert known.is_due(address(1), 110.0)


def test_a_peer_we_once_reached_is_tried_every_few_seconds() -> None:
    known = book()
    known.succeeded(address(1), 1.0)
    for n in range(50):
        known.failed(address(1), 1000.0 * (n + 1))
    assert known.is_due(address(1), 50_000.0 + 15.0)


def test_a_peer_that_was_connected_once_and_is_not_any_more_is_missed() -> None:
    known = book()
    known.learn([address(1), address(2)], Source.PEER)
    assert not known.misses(set())
    known.succeeded(address(1), 100.0)
    assert known.misses({PEERS[2]})
    known.failed(address(1), 200.0)
    assert known.misses({PEERS[2]}), "also while it is not to be dialled yet"
    assert not known.misses({PEERS[1]})


def test_hearsay_that_never_works_is_forgotten() -> None:
    known = book()
    known.learn([address(1)], Source.HEARSAY)
    for n in range(20):
        known.failed(address(1), float(n))
    assert len(known) == 0


def test_a_clock_set_back_does_not_silence_the_dialler() -> None:
    known = book()
    known.learn([address(1)], Source.PEER)
    known.failed(address(1), 1_000_000.0)
    assert known.is_due(address(1), 5.0)


def test_better_sources_are_dialled_first() -> None:
    known = book()
    known.learn([address(1)], Source.HEARSAY)
    known.learn([address(2)], Source.PEER)
    known.succeeded(address(3), 1.0)
    assert known.due(10.0, set(), 8) == [address(3), address(2), address(1)]


def test_it_survives_a_restart() -> None:
    known = book()
    known.succeeded(address(1), 5.0)
    known.learn([address(2)], Source.HEARSAY)
    again = book()
    again.load_json(known.to_json())
    assert again.due(10.0, set(), 8) == [address(1), address(2)]


def test_an_address_that_was_only_given_is_not_written_down() -> None:
    known = book()
    known.learn([address(1)], Source.GIVEN)
    assert json.loads(known.to_json())["addresses"] == []


@given(
    st.text()
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps({"addresses": v}))
)
def test_a_damaged_book_is_no_loss(text: str) -> None:
    known = book()
    known.load_json(text)
    assert len(known) == 0


def test_damaged_entries_are_passed_over() -> None:
    known = book()
    good = {"address": address(1), "source": 2, "last_success": 1.0}
    known.load_json(json.dumps({"addresses": [{}, {**good, "source": 99}, {**good, "last_success": "x"}, 5, good]}))
    assert known.known(PEERS[1]) == (address(1),)


def test_it_stays_bounded() -> None:
    known = book()
    known.learn([address(1, port) for port in range(1, 100)], Source.PEER)
    assert len(known) == MAX_ADDRESSES_PER_PEER
    for n in range(100, 100 + MAX_ADDRESSES + 50):
        peer = Identity(n.to_bytes(32, "big")).peer_id
        known.learn([f"/ip4/10.1.0.1/tcp/5/p2p/{peer}"], Source.HEARSAY)
    assert len(known) == MAX_ADDRESSES
    assert known.known(PEERS[1])
