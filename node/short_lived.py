"""Work whose objects die with it: freed at its end, not when Python's collector comes round.

Owns that, for work in a thread that makes thousands of objects which point at each other, as a picture does. Reference
counts free none of those, and the collector waits until they are a quarter of all that lives long in this process: with
a night's findings in memory that is dozens of pictures, each with its megabytes of pixels. What stays dead for so long
is what a node's memory grew by (docs/log.md, 2026-11-30). Refuses to know what the work is.
"""

import gc
import threading
from collections.abc import Generator
from contextlib import contextmanager

_TURN = threading.Lock()  # the collector's switch is the whole process's: one such work at a time


@contextmanager
def short_lived() -> Generator[None]:
    """For a function, as a decorator: what it made and did not hand out is gone when it returns.

    Meanwhile nothing grows old, so that only what is new is looked at in the end: milliseconds, however much the
    process holds. A full collection would hold up the whole node, for longer with each finding.
    """
    with _TURN:
        was_on = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            gc.collect(0)
            if was_on:
                gc.enable()
