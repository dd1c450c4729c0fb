from pathlib import Path

import base58
import pytest

from gossip.identity import Identity, IdentityError, load_or_create, public_key_of, verify

SEED = bytes(range(32))


def test_peer_id_is_libp2ps(tmp_path: Path) -> None:
    from libp2p.crypto.ed25519 import create_new_key_pair
    from libp2p.peer.id import ID

    assert Identity(SEED).peer_id == ID.from_pubkey(create_new_key_pair(SEED).public_key).to_base58()


def test_first_start_makes_a_key_only_the_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    made = load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_bytes() == made.seed
    assert len(made.seed) == 32
    assert [p.name for p in tmp_path.iterdir()] == ["identity.key"]


def test_second_start_is_the_same_node(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    assert load_or_create(path).peer_id == load_or_create(path).peer_id


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_damaged_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match=r"damaged.*backup"):
        load_or_create(path)
    assert path.read_bytes() == content


def test_a_key_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(SEED)
    path.chmod(0o644)
    assert load_or_create(path).seed == SEED
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot write the identity key"):
        load_or_create(tmp_path / "nowhere" / "identity.key")


def test_a_folder_in_place_of_the_key_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot read the identity key"):
        load_or_create(tmp_path)


def test_signature_counts_for_its_message_and_author_only() -> None:
    one, other = Identity(SEED), Identity(bytes(32))
    signature = one.sign(b"message")
    assert verify(one.peer_id, b"message", signature)
    assert not verify(one.peer_id, b"another", signature)
    assert not verify(other.peer_id, b"message", signature)
    assert not verify(one.peer_id, b"message", signature[:-1])
    assert not verify("12D3KooWnonsense", b"message", signature)


@pytest.mark.parametrize(
    "spoil", [lambda p: p + " ", lambda p: " " + p, lambda p: p[:-1], lambda p: p.lower(), lambda p: ""]
)
def test_a_peer_id_has_one_spelling(spoil) -> None:
    assert public_key_of(spoil(Identity(SEED).peer_id)) is None


def test_an_rsa_peer_id_is_not_ours() -> None:
    assert public_key_of(base58.b58encode(b"\x12\x20" + bytes(32)).decode()) is None


def test_the_seed_is_not_shown() -> None:
    assert SEED.hex() not in repr(Identity(SEED))
    assert repr(SEED) not in repr(Identity(SEED))
