"""The style sheet and the scripts of the pages: read once, named by their content, so that a browser may keep them."""

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


@cache
def static_files() -> Mapping[str, tuple[str, bytes, str]]:
    """Type, bytes and a mark of the content of each file that pages need. There are no others."""
    found: dict[str, tuple[str, bytes, str]] = {}
    for file in files("node.browse").joinpath("static").iterdir():
        kind = _KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            data = file.read_bytes()
            found[file.name] = (kind, data, hashlib.sha256(data).hexdigest()[:12])
    return found


def static(name: str) -> str:
    """The address of a file, another one with each version of it."""
    return f"/static/{name}?v={static_files()[name][2]}"
