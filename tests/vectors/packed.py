"""Vectors of packed broadcasts: the dictionary that a brief gives, and data that are read with it, or refused."""

import json
import zlib

import msgpack

from gossip.envelope import MAX_FRAME_BYTES, seal
from swarm.brief import brief_id, decode_brief
from swarm.preset import preset_of
from tests.vectors import payloads
from tests.vectors.records import ALICE

# Made once with zlib's level 9, of the frame and of a byte more than a frame may have; other levels and libraries give
# other streams of the same.
COMPRESSED = """
78f9031b7cdaf360d0d09236f7bef8f79f50d89cbcba2342b7990a9d7b556c049cdf1834be0db311df9072a3c845e4e4dc8fcf2efc1497fd764d
71c53f961577792c1ded02db4d7fb176d0b8bcb969022b701c4d22f20b0cbd12438c7d3d2aca237db39d530b228bcb4c3203c2f20b7c23ca9dab
4c333d22539cd252839d1085d30268d932f384ce0178d97294b1a21556a2105d8cb4c28b91a52945896925f04264455262716a4e665e2ab4fc68
422b0ba0799eda191b92f3569664a42a80bd00cb77ad44e6bb3548f9ce086fc66384670d87d805a819cf8105961321c9b90935392392a67d4bd5
43f77522d5004fa0ed16
"""
TOO_LONG = """
78f9031b7cdaedc13101000000c220fba7de610d6000000000000000000000000000000000000000000000000000000000000000000000000000
00000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
5c80100001
"""
SETTINGS = {  # name -> value in the base config, and where it may be; names that sort otherwise by their UTF-16 units
    "dropout": (0, {"kind": "float", "low": 0.0, "high": 1.0}),
    "learning_rate": (0.001, {"kind": "float", "low": 0.0001, "high": 0.1, "log": True}),
    "heads": (4, {"kind": "choice", "options": [2, 4]}),
    "softcap": (15.0, {"kind": "choice", "options": [0.0, 15.0]}),
    "tied": (False, {"kind": "choice", "options": [False, True]}),
    "steps": (-300, {"kind": "int", "low": -70000, "high": 2**60}),
    "far": (2**53, {"kind": "int", "low": 0, "high": 2**60}),
    "\ufb00": ("a ligature", {"kind": "choice", "options": ["a ligature"]}),
    "\U0001f600": ("a face", {"kind": "choice", "options": ["a face"]}),
}


def brief_bytes() -> bytes:
    fields = json.loads(payloads.BRIEF_TEXT)
    fields["base_config"] |= {name: value for name, (value, _) in SETTINGS.items()}
    fields["space"]["parameters"] |= {name: where for name, (_, where) in SETTINGS.items()}
    return json.dumps(fields, ensure_ascii=False).encode()


def packed_vectors() -> dict[str, object]:
    brief = brief_bytes()
    id = brief_id(brief)
    dictionary = preset_of(decode_brief(brief), id)
    frame = seal(ALICE, "finding", id, 1, "", 1_760_000_000_000, msgpack.packb(payloads.least())).frame

    def stored(plain: bytes, with_dictionary: bytes = dictionary) -> bytes:
        """The same bytes from every zlib."""
        stream = zlib.compressobj(0, zdict=with_dictionary)
        return stream.compress(plain) + stream.flush()

    read = {
        "a plain frame": (frame, frame),
        "stored": (stored(frame), frame),
        "compressed": (bytes.fromhex(COMPRESSED), frame),
        "packed twice: what comes out is no frame": (stored(stored(frame)), stored(frame)),
        "with another dictionary: taken for a frame": (stored(frame, b"another"), stored(frame, b"another")),
        "without a dictionary: taken for a frame": (zlib.compress(frame, 0), zlib.compress(frame, 0)),
    }
    refused = {
        "cut short": stored(frame)[:-1],
        "the first six bytes": stored(frame)[:6],
        "a byte after the stream": stored(frame) + b"\0",
        "a wrong sum": stored(frame)[:-1] + bytes([stored(frame)[-1] ^ 1]),
        f"{MAX_FRAME_BYTES + 1} bytes come out": bytes.fromhex(TOO_LONG),
    }
    data: list[dict[str, object]] = [
        {"what": what, "data": sent.hex(), "frame": comes.hex(), "reason": None} for what, (sent, comes) in read.items()
    ]
    data += [{"what": what, "data": sent.hex(), "reason": "malformed"} for what, sent in refused.items()]
    return {"brief": brief.hex(), "dictionary": dictionary.hex(), "data": data}


VECTORS = {"packed.json": packed_vectors}
