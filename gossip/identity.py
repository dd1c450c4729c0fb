"""Who a node is: an Ed25519 key whose public half is its libp2p peer id.

Owns the seed file, signing and checking. What is signed is the caller's affair.
"""

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import base58
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from gossip.refusal import GossipError

SEED_BYTES = 32
_REMEMBERED = 4096  # peer ids whose keys are at hand
# libp2p peer ids: multihash "identity" (0x00) of 36 bytes (0x24), which are the protobuf PublicKey
# {type: Ed25519 (08 01), data: 32 bytes (12 20)}. libp2p specs, peer-ids.
_PEER_ID_HEAD = bytes.fromhex("0024 0801 1220")
_PEER_ID_TEXT = re.compile(r"12D3KooW[1-9A-HJ-NP-Za-km-z]{44}")


class IdentityError(GossipError):
    """The key file cannot be used."""


@dataclass(frozen=True, slots=True)
class Identity:
    seed: bytes = field(repr=False)
    _key: SigningKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_key", SigningKey(self.seed))

    @property
    def public_key(self) -> bytes:
        return bytes(self._key.verify_key)

    @property
    def peer_id(self) -> str:
        return peer_id_of(self.public_key)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(message).signature


@lru_cache(maxsize=_REMEMBERED)
def peer_id_of(public_key: bytes) -> str:
    return base58.b58encode(_PEER_ID_HEAD + public_key).decode("ascii")


def public_key_of(peer_id: str) -> bytes | None:
    """The 32 bytes inside a peer id; None if it is not an Ed25519 peer id in its one canonical spelling."""
    return None if _PEER_ID_TEXT.fullmatch(peer_id) is None else _decoded(peer_id)


@lru_cache(maxsize=_REMEMBERED)
def _decoded(peer_id: str) -> bytes | None:
    raw = base58.b58decode(peer_id)
    if len(raw) != len(_PEER_ID_HEAD) + 32 or not raw.startswith(_PEER_ID_HEAD):
        return None
    return raw[len(_PEER_ID_HEAD) :]


def verify(peer_id: str, message: bytes, signature: bytes) -> bool:
    key = _verify_key(peer_id)
    if key is None or len(signature) != 64:
        return False
    try:
        key.verify(message, signature)
    except BadSignatureError:
        return False
    return True


@lru_cache(maxsize=1024)  # authors of a swarm; a decoded key costs more than a look-up
def _verify_key(peer_id: str) -> VerifyKey | None:
    public_key = public_key_of(peer_id)
    return None if public_key is None else VerifyKey(public_key)


def load_or_create(path: Path) -> Identity:
    """The identity in the seed file, made at the first call. A file that is there is never overwritten."""
    try:
        return _load(path)
    except FileNotFoundError:
        pass
    try:
        _create(path, os.urandom(SEED_BYTES))
    except OSError as error:
        raise IdentityError(f"cannot write the identity key {path}: {error.strerror}; check the folder") from None
    return _load(path)


def _load(path: Path) -> Identity:
    try:
        with path.open("rb") as file:
            seed = file.read(SEED_BYTES + 1)
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IdentityError(f"cannot read the identity key {path}: {error.strerror}") from None
    if len(seed) != SEED_BYTES:
        raise IdentityError(
            f"identity key {path} is damaged ({len(seed) or 'no'} bytes instead of {SEED_BYTES}):"
            " restore it from a backup, or move it away to become a new node"
        )
    if mode & 0o077:
        _tighten(path, mode)
    return Identity(seed)


def _tighten(path: Path, mode: int) -> None:
    try:
        path.chmod(0o600)
    except OSError as error:
        raise IdentityError(
            f"identity key {path} can be read by others (mode {mode:o}) and cannot be closed to them: {error.strerror}"
        ) from None


def _create(path: Path, seed: bytes) -> None:
    """Whole or not at all, and never over an existing file: written beside it, then linked into place."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        try:
            os.write(descriptor, seed)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        with contextlib.suppress(FileExistsError):  # another process was first: its key counts
            os.link(beside, path)
    finally:
        beside.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
