"""Choices that a fuzzer's bytes make: odd texts and values, damaged bytes, a valid JSON document with some of its parts changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import atheris

Some = TypeVar("Some")
ODD_TEXTS = (
    "", " ", "0", "1", "-1", "1e999", "nan", "null", "true", "a/a0.jpg", "b/b1.jpg", "a0.jpg", "../outside/secret.jpg", "/etc/passwd", "a/../b",
    "easy", "hard", "Ann", "simulated-1", "=1+1", "'", '"', "''=", "\t", "\r", "\n", "\r\n", ",", ";", "\0", "\x1b[31m", "\u2028", "\ufeff", "\ud800",
    "\udcff", "²", "٣", "ﬀ", "𝔘", "a" * 300, "x" * 70, "9" * 5000, "[" * 3000, "2026-03-01T12:00:00+01:00", "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59", "2026-03-01", "00000000-0000-0000-0000-000000000000", "{00000000000000000000000000000001}", "step:x", "run:x", "run:..",
    "<b>", "%00", "%2e%2e/", "C:\\a.jpg", "\\\\host\\x", "/data/local-files/?d=a/a0.jpg",
)  # fmt: skip
ODD_NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    255,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**62,
    2**63 - 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**12,
    10**30,
    10**400,
)
ODD_FLOATS = (0.0, -0.0, 0.5, 1e-300, 1e9, 1e18, 1e308, float("inf"), float("-inf"), float("nan"))


class Chance:
    """Bytes as a row of choices; when they are used up, every choice is the first."""

    def __init__(self, data: bytes) -> None:
        self.left = atheris.FuzzedDataProvider(data)

    def number(self, low: int, high: int) -> int:
        return int(self.left.ConsumeIntInRange(low, high))

    def yes(self, of: int = 2) -> bool:
        """True in one of so many cases, and never when the bytes are used up."""
        return self.number(0, of - 1) == of - 1

    def pick(self, some: Sequence[Some]) -> Some:
        return some[self.number(0, len(some) - 1)]

    def text(self) -> str:
        return self.pick(ODD_TEXTS) if self.yes() else str(self.left.ConsumeUnicode(self.number(0, 20)))

    def raw(self, most: int = 4000) -> bytes:
        return bytes(self.left.ConsumeBytes(self.number(0, most)))

    def value(self, depth: int = 0) -> Any:
        """Anything that JSON has, and once in a while nested deeper than a reader may go."""
        kinds: list[Callable[[], Any]] = [
            self.text, lambda: self.pick(ODD_NUMBERS), lambda: self.pick(ODD_FLOATS), lambda: self.pick((None, True, False)), self.text,
            lambda: self.number(-(2**63), 2**63 - 1), lambda: [], lambda: {},
        ]  # fmt: skip
        if depth < 3:
            kinds += [
                lambda: [self.value(depth + 1) for _ in range(self.number(0, 4))],
                lambda: {self.text(): self.value(depth + 1) for _ in range(self.number(0, 4))},
                lambda: nested(self.number(50, 1200)),
            ]
        return self.pick(kinds)()

    def changed(self, document: Any, most: int = 4) -> Any:
        """A copy with some parts replaced, dropped, doubled or renamed."""
        document = copy.deepcopy(document)
        for _ in range(self.number(0, most)):
            holder, key = self._somewhere(document)
            if holder is None:
                return self.value()
            match self.number(0, 5):
                case 1:
                    del holder[key]
                case 2 if isinstance(holder, dict):
                    holder[self.text()] = holder.pop(key)
                case 3 if isinstance(holder, list):
                    holder.insert(self.number(0, len(holder)), holder[key])
                case 4 if isinstance(holder, dict):
                    holder[key] = holder[self.pick(list(holder))]
                case _:
                    holder[key] = self.value()
        return document

    def _somewhere(self, document: Any) -> tuple[Any, Any]:
        holder, key = None, None
        while isinstance(document, dict | list) and document:
            if holder is not None and self.yes(4):
                break
            holder = document
            key = self.pick(list(document)) if isinstance(document, dict) else self.number(0, len(document) - 1)
            document = holder[key]
        return holder, key

    def damaged(self, valid: bytes, most: int = 6) -> bytes:
        """A copy with some bytes changed, cut out, put in, doubled, or its end missing."""
        found = bytearray(valid)
        for _ in range(self.number(0, most)):
            at = self.number(0, len(found))
            match self.number(0, 6):
                case 0 | 1:
                    found[at : at + 1] = bytes([self.number(0, 255)])
                case 2:
                    found[at : at + self.pick((1, 2, 4, 8))] = self.pick(
                        (b"\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x7f" * 8)
                    )
                case 3:
                    del found[at : at + self.number(1, 64)]
                case 4:
                    found[at:at] = self.raw(16)
                case 5:
                    found[at:at] = found[at : at + self.number(1, 200)]
                case _:
                    del found[at:]
        return bytes(found)

    def json(self, document: Any) -> bytes:
        """A JSON document that is changed as a value, or as text, or both."""
        text = dumped(self.changed(document) if self.yes() else document)
        return self.damaged(text) if self.yes(3) else text


def nested(depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = [found]
    return found


def dumped(document: Any) -> bytes:
    """JSON with lone surrogates as they are escaped, whatever its depth."""
    try:
        return json.dumps(document).encode()
    except (RecursionError, ValueError):
        return b'{"x": ' + b"[" * 1500 + b"]" * 1500 + b"}"
