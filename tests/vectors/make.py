"""Writes the golden vectors of protocol version 1. Run by hand: python tests/vectors/make.py

Vectors are only ever added: what is in v1/ stays as it is, since other implementations were checked against it. An
existing file whose bytes would change is an error, not an update.
"""

import json
import sys
from pathlib import Path

from tests.vectors import exchanges, marks, messages, packed, payloads, records

FOLDER = Path(__file__).parent / "v1"
VECTORS = records.VECTORS | payloads.VECTORS | messages.VECTORS | exchanges.VECTORS | packed.VECTORS | marks.VECTORS


def text_of(name: str) -> str:
    return json.dumps(VECTORS[name](), indent=1) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        path, text = FOLDER / name, text_of(name)
        if path.exists() and path.read_text() != text:
            sys.exit(f"{path} would change: version 1 is fixed, add a new file or a new version")
        path.write_text(text)


if __name__ == "__main__":
    main()
