"""What the C library does with memory a node has freed: gives it back, instead of keeping it for later.

Owns the settings of glibc's malloc, for nodes that run for nights. By default a buffer of megabytes comes from a heap
once one of its size has been freed, each thread may begin a heap of its own, and what is freed in the middle of a heap
stays: half of what a node grew by in its first hour (docs/log.md, 2026-11-30). Another C library is left as it is. The
processes that trials run in have their own, and are not touched.
"""

import ctypes

HEAPS = 2  # at most, whatever the number of threads and cores: a node's threads take turns anyway
OWN_PAGES_BYTES = 256 * 1024  # larger buffers are pages of their own, which go back when they are freed; a guess
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # of malloc.h


def give_back_what_is_freed() -> bool:
    """Once, before there are threads. False where there is nothing to be set."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_ARENA_MAX, HEAPS)) and bool(mallopt(_M_MMAP_THRESHOLD, OWN_PAGES_BYTES))
