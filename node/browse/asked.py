"""What a request asks for, without HTTP: a page's name, its parameters, the part of the address that names a thing."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Asked:
    page: str
    pairs: Pairs = ()
    name: str = ""  # of a run or a node

    def get(self, key: str) -> str | None:
        return next((value for name, value in reversed(self.pairs) if name == key and value), None)

    def all(self, key: str) -> list[str]:
        return [value for name, value in self.pairs if name == key and value]

    @property
    def topic(self) -> str | None:
        return self.get("topic")

    def number(self, key: str) -> int:
        text = self.get(key) or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 1

    def link(self, path: str, pairs: Pairs = (), **more: object) -> str:
        """An address on this page, in the topic that is looked at."""
        found = [*pairs, *((key, str(value)) for key, value in more.items() if value not in (None, ""))]
        if self.topic is not None:
            found.append(("topic", self.topic))
        return f"{path}?{urlencode(found)}" if found else path
