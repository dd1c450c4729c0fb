"""A node whose wall clock is wrong by as many seconds as a file says, from the moment the file says it.

    python tests/jumping_clock.py FILE launch ...

Steady clocks go on as they do, as when a person or a time server sets a machine's clock.
"""

import sys
import time
from pathlib import Path

true_clock, offset = time.time, Path(sys.argv.pop(1))
time.time = lambda: true_clock() + float(offset.read_text())  # before anything of the node asks for it

from node.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
