"""A peer's train.py without its words: what a model or a person will read must not be able to speak to them.

Owns what counts as words: comments, strings that stand alone, sentences in other strings, names as long as sentences.
Those that our own train.py or the brief's has, too, stay. Run as a program it reads {"source", "known"} on standard
input and prints {"source"} or {"refused"}, under limits, because a source can be made so that parsing it needs all
memory there is. Standard library only.
"""

import ast
import io
import json
import resource
import sys
import tokenize

MEMORY_BYTES, CPU_SECONDS = 2**30, 10
MOST_WORDS = 6  # of one new string: a message of an error, not an instruction; guess
MOST_NAME_CHARS = 60
Span = tuple[tuple[int, int], tuple[int, int]]  # line and column, from and to


class Refused(Exception):
    """Its words cannot be taken out."""


def without_words(source: str, known: list[str]) -> str:
    """`source` without comments and lone strings that none of `known` has. Raises Refused, SyntaxError, ValueError."""
    comments, strings, names = set[str](), set[str](), set[str]()
    for text in known:
        comments |= {token.string for token in _tokens(text) if token.type == tokenize.COMMENT}
        nodes = list(ast.walk(ast.parse(text)))
        strings |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    tree = ast.parse(source)
    lone = [node for node in ast.walk(tree) if _is_lone(node, strings)]
    _refuse_sentences(tree, {id(node.value) for node in lone if isinstance(node, ast.Expr)}, strings)
    for token in _tokens(source):
        if token.type == tokenize.NAME and len(token.string) > MOST_NAME_CHARS:
            names.add(token.string)
    if names:
        raise Refused(f"it has names of more than {MOST_NAME_CHARS} characters")
    cuts: list[tuple[Span, str]] = [
        ((token.start, token.end), "")
        for token in _tokens(source)
        if token.type == tokenize.COMMENT and token.string not in comments
    ]
    cuts += [(_span(node), "...") for node in lone]
    cleaned = _cut(source, cuts)
    ast.parse(cleaned)
    return cleaned


def _tokens(text: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def _is_lone(node: ast.AST, known: set[str]) -> bool:
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant):
        return False
    return isinstance(node.value.value, str) and node.value.value not in known


def _refuse_sentences(tree: ast.AST, lone: set[int], known: set[str]) -> None:
    for node in ast.walk(tree):
        value = node.value if isinstance(node, ast.Constant) and id(node) not in lone else None
        if isinstance(value, bytes):
            value = value.decode("latin-1")
        if isinstance(value, str) and value not in known and len(value.split()) > MOST_WORDS:
            raise Refused(f"a string of it has more than {MOST_WORDS} words")


def _span(node: ast.AST) -> Span:
    assert isinstance(node, ast.Expr)
    end = (node.end_lineno or node.lineno, node.end_col_offset or 0)
    return (node.lineno, node.col_offset), end  # columns in bytes, which in ASCII are characters


def _cut(source: str, cuts: list[tuple[Span, str]]) -> str:
    """With other text in place of the spans, and without lines that hold nothing any more."""
    lines = [f"{line}\n" for line in source.removesuffix("\n").split("\n")]  # splitlines also splits at form feeds
    for ((first, begin), (last, end)), text in sorted(cuts, reverse=True):
        head, tail = lines[first - 1][:begin], lines[last - 1][end:]
        kept = head.rstrip() + tail if not text and not tail.strip() else head + text + tail
        lines[first - 1 : last] = [] if not kept.strip() else [kept]
    return "".join(lines)


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    asked = json.load(sys.stdin)
    try:
        said = {"source": without_words(asked["source"], asked["known"])}
    except Refused as refused:
        said = {"refused": str(refused)}
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        said = {"refused": f"it cannot be parsed: {type(error).__name__}"}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
