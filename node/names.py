"""A friendly name for a node that was given none: always the same for the same peer id."""

import hashlib

# fmt: off
_FIRST = (
    "amber", "bold", "brisk", "calm", "clear", "crisp", "deft", "eager", "early", "fair", "fleet", "frank", "glad",
    "grand", "keen", "kind", "lively", "lucid", "mellow", "merry", "neat", "noble", "patient", "plain", "proud",
    "quick",
    "quiet", "ready", "sharp", "sly", "steady", "still", "stout", "sunny", "swift", "tidy", "warm", "wary", "wild",
    "wise",
)
_SECOND = (
    "adder", "badger", "bear", "beaver", "bison", "crane", "crow", "curlew", "deer", "dove", "eagle", "egret", "falcon",
    "finch", "fox", "gecko", "gull", "hare", "hawk", "heron", "ibis", "jay", "kite", "lark", "lynx", "magpie", "marten",
    "mole", "moth", "newt", "otter", "owl", "pike", "plover", "quail", "raven", "robin", "seal", "stoat", "swan",
    "tern",
    "toad", "vole", "wren",
)
# fmt: on


def friendly_name(peer_id: str) -> str:
    """'quiet-otter'"""
    number = int.from_bytes(hashlib.sha256(peer_id.encode()).digest()[:8], "big")
    first, second = divmod(number, len(_SECOND))
    return f"{_FIRST[first % len(_FIRST)]}-{_SECOND[second]}"
