"""Reading a map that a stranger packed with msgpack: bounded, and with one way to fail.

Owns the bounds of the reader. Which keys belong there, and what they may hold, is for whoever asks.
"""

from typing import Any, cast

import msgpack

from gossip.refusal import RefusalReason, Refused


def unpacked_map(packed: bytes, what: str, most: int) -> dict[Any, Any]:  # Any: whatever a stranger packed
    """`what` it is, for the sentence; `most` items of any list or map in it. Raises Refused."""
    try:
        fields: object = msgpack.unpackb(
            packed, strict_map_key=True, max_array_len=most, max_map_len=most, max_ext_len=0
        )
    except Exception as error:  # msgpack raises many classes on hostile bytes; all mean the same here
        raise Refused(RefusalReason.MALFORMED, f"{what} is not msgpack: {type(error).__name__}") from None
    if not isinstance(fields, dict):
        raise Refused(RefusalReason.MALFORMED, f"{what} is not a map")
    return cast("dict[Any, Any]", fields)
