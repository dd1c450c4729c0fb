"""Reading the object that a small model meant: JSON, a Python dict, or something in between, whole or cut off.

Owns the tolerance: single and curly quotes, True/None, names without quotes, comments, trailing and missing commas,
line breaks inside strings, brackets that never close. What the object should hold is answer.py's business. Work and
depth are bounded; nothing is ever evaluated.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, cast

MAX_STARTS = 200  # opening braces that are tried as the start of an object; bounds the work babble can make
MAX_DEPTH = 12  # a proposal needs four
MAX_STEPS = 200_000  # characters and values looked at, over all starts; an honest answer has a tenth of it
_QUOTES = {  # what opens a string, and what may close it
    '"': '"', "'": "'", "`": "`", "\u201c": "\u201d\u201c\u201f\"", "\u201d": "\u201d\"", "\u201e": "\u201d\u201c\"",
    "\u2018": "\u2019'", "\u2019": "\u2019'", "\u00ab": "\u00bb",
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "\n": ""}
_WORDS = {"true": True, "false": False, "yes": True, "no": False, "none": None, "null": None}
_GAP = re.compile(r"(?:\s+|//[^\n]*|#[^\n]*|/\*.*?\*/)+", re.DOTALL)
_BARE = re.compile(r"[^\s,:{}\[\]\"'`\u201c\u201d\u2018\u2019]+")
_NUMBER = re.compile(r"[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
MAX_NUMBER_CHARS = 40


class _Unreadable(Exception):
    """Not an object from here on."""


def objects(text: str) -> Iterator[dict[str, Any]]:  # Any: whatever a model wrote
    """Every outermost object in `text`, strict JSON first: code fences and prose around them do not matter."""
    decoder = json.JSONDecoder(parse_constant=_refuse, strict=False)
    at, budget = text.find("{"), [MAX_STEPS]
    for _ in range(MAX_STARTS):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):  # not JSON from here, NaN, or a number of thousands of digits
            value, end = _loose(text, at, budget)
        if value is not None:
            yield cast("dict[str, Any]", value)
        at = text.find("{", end)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number")


def _loose(text: str, at: int, budget: list[int]) -> tuple[dict[str, Any] | None, int]:
    reader = _Reader(text, at, budget)
    try:
        return reader.table(0), reader.at
    except _Unreadable:
        return None, at + 1


class _Reader:
    """A recursive reader of one object that gives up rather than guess."""

    def __init__(self, text: str, at: int, budget: list[int]) -> None:
        self.text = text
        self.at = at
        self._budget = budget
        self._cut = False  # the text ended inside a value

    def table(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.at += 1
        while not self._closes("}"):
            name = self._name()
            self._skip()
            if self._peek() not in (":", "="):
                if not self._peek():  # cut off in the middle of a name
                    return found
                raise _Unreadable
            self.at += 1
            self._skip()
            if not self._peek():
                return found
            value = self._value(depth + 1)
            if self._cut and not isinstance(
                value, dict | list
            ):  # half a number or half a line of code is another one than was meant
                return found
            found[name] = value
        return found

    def _list(self, depth: int, closing: str) -> list[Any]:
        found: list[Any] = []
        self.at += 1
        while not self._closes(closing):
            value = self._value(depth + 1)
            if self._cut and not isinstance(value, dict | list):
                return found
            found.append(value)
        return found

    def _closes(self, closing: str) -> bool:
        """Past commas and gaps: whether the bracket closes here, or the text is over."""
        self._skip()
        while self._peek() in (",", ";"):
            self.at += 1
            self._skip()
        if not self._peek():
            return True
        if self._peek() == closing:
            self.at += 1
            return True
        return False

    def _value(self, depth: int) -> Any:
        self._step()
        if depth > MAX_DEPTH:
            raise _Unreadable
        self._skip()
        first = self._peek()
        if first == "{":
            return self.table(depth)
        if first in ("[", "("):
            return self._list(depth, "]" if first == "[" else ")")
        if first in _QUOTES:
            return self._string(first)
        return self._bare()

    def _name(self) -> str:
        self._step()
        first = self._peek()
        if first in _QUOTES:
            return self._string(first)
        found = _BARE.match(self.text, self.at)
        if found is None or len(found[0]) > 100:
            raise _Unreadable
        self.at = found.end()
        name, equals, _ = found[0].partition("=")
        if equals:
            self.at = found.start() + len(name)
        return name

    def _string(self, quote: str) -> str:
        for width in (3, 1):  # three of them: Python's, and what models write around code
            opening = self.text[self.at : self.at + width]
            if opening == quote * width and (width == 1 or quote in "\"'`"):
                break
        closings = [quote * 3] if width == 3 else list(_QUOTES[quote])
        self.at += width
        parts: list[str] = []
        while self.at < len(self.text):
            self._step()
            if any(self.text.startswith(closing, self.at) for closing in closings) and (
                width == 3 or self._ends_here()
            ):
                self.at += width
                return "".join(parts)
            parts.append(self._character())
        self._cut = True
        return "".join(parts)

    def _ends_here(self) -> bool:
        """A quote ends a string where something follows that may follow: else it is a quote inside of it."""
        after = _GAP.sub("", self.text[self.at + 1 : self.at + 200], count=1).lstrip()[:1]
        return after in ("", ",", ":", "=", "}", "]", ")", ";", '"', "'", "\u201c", "\u201d", "/", "#") or (
            "\n" in self.text[self.at + 1 : self.at + 200].split(after, 1)[0]
        )

    def _character(self) -> str:
        one = self.text[self.at]
        self.at += 1
        if one != "\\" or self.at >= len(self.text):
            return one
        escaped = self.text[self.at]
        self.at += 1
        if escaped in "ux":
            digits = self.text[self.at : self.at + (4 if escaped == "u" else 2)]
            if re.fullmatch(r"[0-9a-fA-F]+", digits):
                self.at += len(digits)
                return chr(int(digits, 16))
        return _ESCAPES.get(escaped, escaped)

    def _bare(self) -> Any:
        found = _BARE.match(self.text, self.at)
        if found is None:
            raise _Unreadable
        word, self.at = found[0], found.end()
        self._cut = self.at == len(self.text)
        if word.lower() in _WORDS:
            return _WORDS[word.lower()]
        if _NUMBER.fullmatch(word) and len(word) <= MAX_NUMBER_CHARS:
            plain = word.replace("_", "")
            return float(plain) if set(plain) & set(".eE") else int(plain)
        if len(word) > 64 or word.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise _Unreadable
        return word

    def _skip(self) -> None:
        gap = _GAP.match(self.text, self.at)
        if gap is not None:
            self.at = gap.end()

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _step(self) -> None:
        self._budget[0] -= 1
        if self._budget[0] < 0:
            raise _Unreadable
