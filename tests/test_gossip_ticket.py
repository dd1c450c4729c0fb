import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.identity import Identity
from gossip.ticket import MAX_ADDRESSES, Ticket, TicketError, decode_ticket, encode_ticket

PEERS = [Identity(bytes([n]) * 32).peer_id for n in range(1, 12)]
TICKET = Ticket(
    "pysource",
    "ab" * 32,
    (
        f"/ip4/192.168.1.10/tcp/4001/p2p/{PEERS[0]}",
        f"/ip6/::1/tcp/4001/p2p/{PEERS[0]}",
        f"/dns4/node.example.org/tcp/4001/p2p/{PEERS[1]}",
    ),
)
TEXT = encode_ticket(TICKET)


def test_round_trip() -> None:
    assert decode_ticket(TEXT) == TICKET


def test_round_trip_with_a_swarm_key() -> None:
    private = Ticket("pysource", "ab" * 32, TICKET.addresses, psk=bytes(range(32)))
    assert decode_ticket(encode_ticket(private)) == private


def test_round_trip_without_addresses() -> None:
    lonely = Ticket("", "ab" * 32, ())
    assert decode_ticket(encode_ticket(lonely)) == lonely


def test_it_is_one_word_of_letters_and_digits() -> None:
    assert TEXT.isalnum()
    assert TEXT.isascii()
    assert TEXT.startswith("swarm1")


@pytest.mark.parametrize("around", ["  {}\n", "'{}'", '"{}"', "`{}`", '\t"{}" ', "<{}>"])
def test_white_space_and_quotes_are_forgiven(around: str) -> None:
    assert decode_ticket(around.format(TEXT)) == TICKET


def test_case_does_not_matter() -> None:
    assert decode_ticket(TEXT.upper()) == TICKET


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a ticket"),
        ("hello", "not a ticket"),
        ("/ip4/1.2.3.4/tcp/1", "not a ticket"),
        (TEXT[:-1], "cut short|mistyped"),
        (TEXT[:-9], "cut short"),
        (TEXT[: len(TEXT) // 2], "cut short"),
        ("swarm1", "cut short"),
        (TEXT + "aaaaaaaa", "extra characters"),
        (TEXT.replace("swarm1", "swarm2"), "newer version"),
        (TEXT[:40] + ("a" if TEXT[40] != "a" else "b") + TEXT[41:], "mistyped"),
        (TEXT[:40] + "!" + TEXT[41:], "character"),
        (TEXT[:40] + " " + TEXT[40:], "character"),
        (TEXT + "a" * 9000, "too long"),
    ],
)
def test_a_bad_ticket_is_one_clear_sentence(text: str, says: str) -> None:
    with pytest.raises(TicketError, match=says) as caught:
        decode_ticket(text)
    assert "\n" not in str(caught.value)


@given(st.data())
@settings(max_examples=200)
def test_no_mistyped_letter_goes_through(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(TEXT) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
    typed = TEXT[:at] + letter + TEXT[at + 1 :]
    if typed == TEXT:
        return
    try:
        ticket = decode_ticket(typed)
    except TicketError:
        return
    assert ticket == TICKET  # the last letter may have bits that carry nothing


@given(st.text(max_size=200) | st.text("abcdefghijklmnopqrstuvwxyz234567", max_size=300).map(lambda t: "swarm1" + t))
@settings(max_examples=300)
def test_any_text_is_a_ticket_or_a_sentence(text: str) -> None:
    with pytest.raises(TicketError):
        decode_ticket(text)


def test_too_many_addresses_do_not_fit() -> None:
    addresses = tuple(f"/ip4/10.0.0.{n}/tcp/1/p2p/{PEERS[0]}" for n in range(1, MAX_ADDRESSES + 2))
    with pytest.raises(TicketError, match="at most 8"):
        Ticket("t", "ab" * 32, addresses)


@pytest.mark.parametrize("address", ["/ip4/1.2.3.4/tcp/1", "nonsense", f"/ip4/1.2.3.4/tcp/0/p2p/{PEERS[0]}"])
def test_an_address_without_a_peer_is_no_use(address: str) -> None:
    with pytest.raises(TicketError):
        Ticket("t", "ab" * 32, (address,))


def test_round_trip_with_addresses_through_relays() -> None:
    via = f"/ip4/192.0.2.7/tcp/4001/p2p/{PEERS[1]}/p2p-circuit/p2p/{PEERS[0]}"
    ticket = Ticket("pysource", "ab" * 32, (f"/ip4/192.168.1.10/tcp/4001/p2p/{PEERS[0]}", via))
    assert decode_ticket(encode_ticket(ticket)) == ticket


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), "k" * 32])
def test_a_key_of_another_size_or_kind_is_one_clear_sentence(key) -> None:
    with pytest.raises(TicketError, match="32 bytes"):
        Ticket("pysource", "ab" * 32, (), key)
