"""Memory that a node has freed goes back to the system."""

import subprocess
import sys

import pytest

FREED = """
import ctypes, platform
from pathlib import Path
{setting}
malloc, free = ctypes.CDLL(None).malloc, ctypes.CDLL(None).free
malloc.restype, free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
free(malloc(8 << 20))  # from here on glibc takes such buffers from a heap, by itself
buffer, above = malloc(4 << 20), malloc(200 << 10)
mapped = [line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines() if "[heap]" in line]
print(any(int(begin, 16) <= buffer < int(end, 16) for begin, end in mapped))
"""
SETTING = "from node.allocator import give_back_what_is_freed\nassert give_back_what_is_freed()"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is looked for in /proc")
def test_a_large_buffer_is_no_part_of_a_heap_even_after_one_was_freed():
    assert said("") == "True"
    assert said(SETTING) == "False"


def said(setting: str) -> str:
    done = subprocess.run([sys.executable, "-c", FREED.format(setting=setting)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
