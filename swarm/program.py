"""What makes two proposals the same: one program with the same settings, however either is written down.

Owns the canonical key, by which nothing is tried twice. It is not the key of `space.config_key`, by which trials are
evidence of one thing and which is on the wire: that one names exact texts. Sources are strangers' text, never run.
"""

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import lru_cache
from typing import cast

from swarm.brief import MAX_SOURCE_BYTES, Brief, source_sha256
from swarm.space import config_key
from swarm.words import Value

_NOT_MEANING = frozenset(
    {"kind", "type_comment", "type_ignores", "ctx"}
)  # fields of syntax nodes that change no program
_HAVE_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class _Field(str):
    """The name of a field, apart from text in the program."""


class _End(Enum):
    NODE = ")"
    LIST = "]"


def canonical_key(brief: Brief, config: Mapping[str, Value], source: str | None) -> str:
    """Equal for proposals that run the same thing. `source` None: the brief's own. Raises BriefError for a config
    outside the space."""
    return config_key(brief.space.normalise(config), program_key(brief, source))


def program_key(brief: Brief, source: str | None) -> str:
    """64 hex digits: of the brief's own source its hash, whatever its comments; of another one that of its syntax."""
    if source is None or source == brief.source:
        return brief.source_sha256
    digest = syntax_digest(source)
    return brief.source_sha256 if digest == syntax_digest(brief.source) else digest


@lru_cache(maxsize=256)  # reading one takes some 50 ms; a night of code changes has about so many
def syntax_digest(source: str) -> str:
    """The same for sources that differ in comments, formatting and docstrings only. Of what is no Python, or too
    involved to be read, the hash of its text."""
    if len(source) > MAX_SOURCE_BYTES:
        return source_sha256(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the source's author, for who runs it
            tree = ast.parse(source)
        digest = hashlib.sha256(b"syntax\0")
        for piece in _written(tree):
            digest.update(piece.encode("utf-8", "surrogatepass") + b"\0")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()
    return digest.hexdigest()


def _written(tree: ast.AST) -> Iterator[str]:
    """The tree as words, without what is empty: fields that later versions of Python add are, in older programs."""
    waiting: list[object] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.AST):
            yield f"({type(node).__name__}"
            waiting.append(_End.NODE)
            waiting += reversed(list(_fields(node)))
        elif isinstance(node, _Field):
            yield f".{node}"
        elif isinstance(node, list):
            yield "["
            waiting.append(_End.LIST)
            waiting += reversed(cast("list[object]", node))
        elif isinstance(node, _End):
            yield node.value
        else:
            yield f"{type(node).__name__} {node!r}"


def _fields(node: ast.AST) -> Iterator[object]:
    for name, value in ast.iter_fields(node):
        if value is None and not isinstance(node, ast.Constant):
            continue
        if value == [] or name in _NOT_MEANING:
            continue
        yield _Field(name)
        yield _without_docstring(node.body) if name == "body" and isinstance(node, _HAVE_DOCSTRINGS) else value


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_one = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if is_one else body
