"""The wall around a private swarm: a connection says nothing, and hears nothing, before both sides have shown its key.

Noise with a pre-shared key (NNpsk0) right on TCP, below libp2p: docs/protocol.md, "Private swarms". Who the other side
is, is not shown here but by libp2p's own handshake inside. The library's own private networks (pnet) are not used: a
wrong key is noticed after 30 s only, nothing is authenticated, and its cipher is not the one that other libp2ps use.
"""

from contextlib import suppress

import trio
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from noise.connection import NoiseConnection

from gossip.refusal import GossipError

KEY_BYTES = 32
HANDSHAKE_SECONDS = 4.0  # guess: two messages of 50 bytes, over the slowest line
_NOISE = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"
_PROLOGUE = b"/swarm/private/1"
_HANDSHAKE_BYTES = 48  # an ephemeral key and the tag of an empty payload
_TAG_BYTES = 16
_MAX_CIPHERTEXT = 65535  # Noise's own limit
_MAX_PLAINTEXT = _MAX_CIPHERTEXT - _TAG_BYTES
_READ_BYTES = 64 * 1024


class WrongSwarm(GossipError):
    """The other side did not show the key of this private swarm."""


async def enter(stream: ReadWriteCloser, key: bytes, *, dialled: bool) -> "PrivateStream":
    """Show the key and be shown it; afterwards everything is encrypted. Raises WrongSwarm, and closes the stream."""
    noise = noise_of(key, dialled=dialled)
    noise.start_handshake()
    private = PrivateStream(stream, noise)
    try:
        with trio.fail_after(HANDSHAKE_SECONDS):
            await private.shake_hands(dialled=dialled)
    except Exception:  # a tag that does not fit, a key that is none, other bytes, silence, the end: all mean the same
        with trio.CancelScope(shield=True), suppress(Exception):
            await stream.close()
        raise WrongSwarm("the other side does not have the key of this private swarm") from None
    return private


def noise_of(key: bytes, *, dialled: bool) -> NoiseConnection:
    """One side of the handshake, not yet started."""
    noise = NoiseConnection.from_name(_NOISE)
    noise.set_psks(psk=key)
    noise.set_prologue(_PROLOGUE)
    (noise.set_as_initiator if dialled else noise.set_as_responder)()
    return noise


class PrivateStream(ReadWriteCloser):
    """A stream of bytes inside Noise messages, each after its length in two bytes."""

    def __init__(self, stream: ReadWriteCloser, noise: NoiseConnection) -> None:
        self._stream = stream
        self._noise = noise
        self._sealed = bytearray()  # received and not yet decrypted; a read that is cancelled loses nothing
        self._plain = bytearray()
        self._reading = trio.Lock()
        self._writing = trio.Lock()

    async def shake_hands(self, *, dialled: bool) -> None:
        if dialled:
            await self._write_message(bytes(self._noise.write_message()))
            await self._read_handshake()
        else:
            await self._read_handshake()
            await self._write_message(bytes(self._noise.write_message()))
        assert self._noise.handshake_finished

    async def read(self, n: int | None = None) -> bytes:
        if n == 0:
            return b""
        async with self._reading:
            while not self._plain:
                message = await self._read_message(_MAX_CIPHERTEXT)
                if message is None:
                    return b""
                try:
                    self._plain += self._noise.decrypt(message)
                except Exception:  # the library's class, or another for a message shorter than a tag
                    raise ConnectionClosedError("bytes that nobody with the key has sent") from None
            taken = bytes(self._plain if n is None else self._plain[:n])
            del self._plain[: len(taken)]
            return taken

    async def write(self, data: bytes) -> None:
        async with self._writing:
            pieces = (data[at : at + _MAX_PLAINTEXT] for at in range(0, len(data), _MAX_PLAINTEXT))
            await self._stream.write(b"".join(map(_framed, map(self._noise.encrypt, map(bytes, pieces)))))

    async def close(self) -> None:
        await self._stream.close()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self._stream.get_remote_address()

    async def _read_handshake(self) -> None:
        message = await self._read_message(_HANDSHAKE_BYTES)
        if message is None or len(message) != _HANDSHAKE_BYTES:
            raise ConnectionClosedError("not a handshake")
        self._noise.read_message(message)

    async def _write_message(self, message: bytes) -> None:
        await self._stream.write(_framed(message))

    async def _read_message(self, limit_bytes: int) -> bytes | None:
        """None where the stream ends between two messages."""
        while True:
            length = int.from_bytes(self._sealed[:2], "big")
            if len(self._sealed) >= 2 and length > limit_bytes:
                raise ConnectionClosedError(f"message of {length} bytes, at most {limit_bytes} fit here")
            if len(self._sealed) >= 2 + length and len(self._sealed) >= 2:
                message = bytes(self._sealed[2 : 2 + length])
                del self._sealed[: 2 + length]
                return message
            piece = await self._stream.read(_READ_BYTES)
            if not piece:
                if self._sealed:
                    raise ConnectionClosedError("the connection ended inside a message")
                return None
            self._sealed += piece


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message
