"""Whose code may run under which sandbox. Pure; the one place that says so.

Owns the names of the sandboxes and what each covers, in words for people. Refuses to know how they work.
"""

from enum import StrEnum


class Backend(StrEnum):
    """What holds candidate code, strongest first."""

    BUBBLEWRAP = "bubblewrap"  # own namespaces around the process that trials are forked from; inside, the next one
    LANDLOCK = "landlock"  # Landlock, a system call filter, limits
    NONE = "none"


class Author(StrEnum):
    """Where code comes from that somebody wants to run."""

    SHIPPED = "shipped"  # the train.py of the brief
    OWN_MODEL = "own_model"  # written by the language model that this node's own person configured
    PEER = "peer"


COVERED: dict[Backend, str] = {
    Backend.BUBBLEWRAP: "own namespaces, Landlock and a system call filter",
    Backend.LANDLOCK: "Landlock and a system call filter",
    Backend.NONE: "nothing holds a training script: only the shipped train.py runs, the search is in its config",
}
GAPS: dict[Backend, tuple[str, ...]] = {
    Backend.BUBBLEWRAP: ("errors of the kernel", "the GPU driver's own calls and GPU memory"),
    Backend.LANDLOCK: (
        "errors of the kernel",
        "the GPU driver's own calls and GPU memory",
        "that files exist, their sizes and times",
    ),
    Backend.NONE: ("everything a training script does",),
}
UNSAFE = "none, and --unsafe: code of the language model runs with all rights of this user"


def may_run(author: Author, backend: Backend, *, unsafe: bool) -> bool:
    """`unsafe`: the person said so at launch. It opens the door to the own model's code only, never to a peer's."""
    match author:
        case Author.SHIPPED:
            return True
        case Author.OWN_MODEL:
            return unsafe or backend is not Backend.NONE
        case Author.PEER:
            return backend is not Backend.NONE


def code_may_change(backend: Backend, *, unsafe: bool) -> bool:
    """Whether proposals may change train.py at all; if not, only its config is searched."""
    return may_run(Author.OWN_MODEL, backend, unsafe=unsafe)


def takes_peer_code(backend: Backend, *, gpu: bool, reader: bool, asked: bool | None) -> bool:
    """Whether a peer's change of train.py is tried here. `asked`: what the person said at launch, None for nothing.

    `reader`: a program with the person's rights reads train.py. What a peer wrote is not shown to one. On a GPU the
    driver's own calls are held by nothing, and nobody has tried to break out through them yet: there it takes a word.
    """
    if reader or not may_run(Author.PEER, backend, unsafe=False):
        return False
    return not gpu if asked is None else asked
