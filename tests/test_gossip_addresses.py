import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossip.addresses import AddressError, dialable, parse_address, parse_dialable
from gossip.identity import Identity

PEER = Identity(bytes([7]) * 32).peer_id


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/192.0.2.7/tcp/4001",
        "/ip6/2001:db8::1/tcp/4001",
        f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}",
        f"/dns4/node.example.org/tcp/4001/p2p/{PEER}",
        f"/dns/localhost/tcp/65535/p2p/{PEER}",
    ],
)
def test_what_is_read_is_written_the_same(text: str) -> None:
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "127.0.0.1:4001",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/4001",
        "/ip4/127.0.0.1/tcp/70000",
        "/ip4/127.0.0.1/tcp/-1",
        "/ip4/127.0.0.1/tcp/٣",
        "/ip4/300.0.0.1/tcp/1",
        "/ip6/127.0.0.1/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/dns4/a b/tcp/1",
        "/dns4/a\n/tcp/1",
        "/ip4/127.0.0.1/tcp/1/p2p/",
        "/ip4/127.0.0.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/127.0.0.1/tcp/1/ws",
        "/dns4/" + "a" * 400 + "/tcp/1",
    ],
)
def test_other_text_is_one_clear_sentence(text: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=80))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    with contextlib.suppress(AddressError):
        assert str(parse_address(text))


def test_dialling_needs_a_peer_and_a_port() -> None:
    with pytest.raises(AddressError, match="/p2p/"):
        parse_dialable("/ip4/192.0.2.7/tcp/4001")
    with pytest.raises(AddressError):
        parse_dialable(f"/ip4/192.0.2.7/tcp/0/p2p/{PEER}")


def test_a_strangers_list_is_sifted() -> None:
    good = f"/ip4/192.0.2.7/tcp/4001/p2p/{PEER}"
    assert dialable([good, "x", good, "/ip4/192.0.2.7/tcp/4001"]) == (good,)


RELAY = Identity(bytes([8]) * 32).peer_id
VIA = f"/ip4/192.0.2.7/tcp/4001/p2p/{RELAY}/p2p-circuit"


def test_an_address_through_a_relay_has_its_own_peer_and_the_relays_host() -> None:
    address = parse_dialable(f"{VIA}/p2p/{PEER}")
    assert (address.peer, address.host, address.port) == (PEER, "192.0.2.7", 4001)
    assert parse_dialable(address.relay).peer == RELAY
    assert str(address) == f"{VIA}/p2p/{PEER}"
    assert address.transport == VIA
    assert parse_address(VIA).peer == ""


@pytest.mark.parametrize(
    "text",
    [
        f"/p2p-circuit/p2p/{PEER}",
        f"/ip4/192.0.2.7/tcp/4001/p2p-circuit/p2p/{PEER}",
        f"{VIA}/p2p/{RELAY}",
        f"{VIA}/p2p/",
        f"{VIA}/{PEER}",
        f"{VIA}/p2p/{PEER}/p2p-circuit/p2p/{PEER}",
        f"{VIA}{VIA}/p2p/{PEER}",
        f"{VIA}/p2p/{PEER}/",
        f"/dns4/{'a' * 200}.org/tcp/1/p2p/{RELAY}/p2p-circuit/p2p/{PEER}",
    ],
)
def test_a_malformed_address_through_a_relay_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)
    assert dialable([text]) == ()
