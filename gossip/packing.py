"""How a frame travels when it is broadcast: compressed with a dictionary that all of a brief have, if that is shorter.

Owns the bytes of that, and their bounds. What the dictionary says is for whoever makes it; the record, its id and its
signature are over the plain frame, and only that is kept and handed on in catch-up. docs/protocol.md has the bytes.
"""

import zlib

from gossip.envelope import MAX_FRAME_BYTES
from gossip.refusal import RefusalReason, Refused

_LEVEL = 9  # done once, by the author: 0.2 ms (measured)
_DEFLATE_32K = 0x78  # the first byte of a zlib stream with a window of 32 KiB
_HAS_DICTIONARY = 0x20  # in the second one; four bytes that name the dictionary follow


class Packing:
    def __init__(self, dictionary: bytes = b"") -> None:
        """Without a dictionary nothing is compressed, and nothing taken for it."""
        self._dictionary = dictionary
        self._name = zlib.adler32(dictionary).to_bytes(4, "big")

    def pack(self, frame: bytes) -> bytes:
        """What is broadcast."""
        if not self._dictionary:
            return frame
        stream = zlib.compressobj(_LEVEL, zdict=self._dictionary)
        packed = stream.compress(frame) + stream.flush()
        return packed if len(packed) < len(frame) else frame

    def unpack(self, data: bytes) -> bytes:
        """The frame that was broadcast as `data`. Raises Refused. No more comes out than a frame may have."""
        if not self._is_packed(data):
            return data
        stream = zlib.decompressobj(zdict=self._dictionary)
        try:
            frame = stream.decompress(data, MAX_FRAME_BYTES + 1)
        except zlib.error:
            raise Refused(RefusalReason.MALFORMED, "compressed frame does not decompress") from None
        if len(frame) > MAX_FRAME_BYTES or not stream.eof or stream.unused_data:
            raise Refused(RefusalReason.MALFORMED, f"compressed frame is no whole stream of {MAX_FRAME_BYTES} bytes")
        return frame

    def plain(self, data: bytes) -> bytes:
        """The frame, or the bytes as they are where they hold none: for whoever remembers what was refused."""
        try:
            return self.unpack(data)
        except Refused:
            return data

    def _is_packed(self, data: bytes) -> bool:
        """A frame begins with a signature; one in 2^46 would begin like this."""
        if not self._dictionary or len(data) < 6 or data[0] != _DEFLATE_32K or not data[1] & _HAS_DICTIONARY:
            return False
        return int.from_bytes(data[:2], "big") % 31 == 0 and data[2:6] == self._name
