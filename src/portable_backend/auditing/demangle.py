"""Names of Rust's functions as people write them: both manglings, as far as a path is told. Pure.

``_RNvNtCs1234_4acme4mods3run`` and ``_ZN4acme4mods3run17h0123456789abcdefE`` are ``acme::mods::run``. What is not
understood stays as it is. Names may be hostile: they refer back to parts of themselves and nest, so depth, steps and
the length of what comes out are bounded.

Source: Rust RFC 2603 (the newer mangling).
"""

from __future__ import annotations

import re
from typing import Optional

_LONGEST, _LONGEST_RESULT = 4096, 4096
_MOST_STEPS, _DEEPEST = 20_000, 100

_BASIC = {
    "a": "i8",
    "b": "bool",
    "c": "char",
    "d": "f64",
    "e": "str",
    "f": "f32",
    "h": "u8",
    "i": "isize",
    "j": "usize",
    "l": "i32",
    "m": "u32",
    "n": "i128",
    "o": "u128",
    "p": "_",
    "s": "i16",
    "t": "u16",
    "u": "()",
    "v": "...",
    "x": "i64",
    "y": "u64",
    "z": "!",
}
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_HASH = re.compile(r"h[0-9a-f]{16}")
_ESCAPES = {"SP": "@", "BP": "*", "RF": "&", "LT": "<", "GT": ">", "LP": "(", "RP": ")", "C": ","}


def demangle(name: str) -> str:
    """What a symbol's name means, or the name itself."""
    if len(name) > _LONGEST:
        return name
    if name.startswith("_R"):
        try:
            return _Newer(name).whole()
        except (_Other, IndexError):
            return name
    if name.startswith("_ZN"):
        return _older(name) or name
    return name


class _Other(Exception):
    """What is no name of Rust's, or none that can be told."""


def _older(name: str) -> Optional[str]:
    """A name of the mangling that looks like that of C++ and ends in a hash."""
    parts, at = [], 3
    while at < len(name) and name[at] != "E":
        match = re.compile(r"[1-9][0-9]{0,3}").match(name, at)
        if match is None or match.end() + int(match[0]) > len(name):
            return None
        parts.append(name[match.end() : match.end() + int(match[0])])
        at = match.end() + int(match[0])
    if at >= len(name) or len(parts) < 2 or not _HASH.fullmatch(parts[-1]):
        return None
    return "::".join(map(_unescaped, parts[:-1]))


def _unescaped(part: str) -> str:
    if part.startswith("_$"):
        part = part[1:]
    part = part.replace("..", "::")

    def letter(match: re.Match[str]) -> str:
        code = match[1]
        if code in _ESCAPES:
            return _ESCAPES[code]
        if re.fullmatch(r"u[0-9a-f]{1,6}", code) and int(code[1:], 16) < 0x110000:
            character = chr(int(code[1:], 16))
            return character if character.isprintable() else match[0]
        return match[0]

    return re.sub(r"\$([A-Za-z0-9]{1,7})\$", letter, part)


class _Newer:
    """Reads a name of the newer mangling; positions count from behind ``_R``."""

    def __init__(self, name: str) -> None:
        self.text = name[2:].partition(".")[0]
        self.at, self.depth, self.steps = 0, 0, 0

    def whole(self) -> str:
        if self.text[:1].isdigit():  # a version that is not known
            raise _Other
        path = self.path(value=True)
        if self.at < len(self.text) and self.text[self.at] in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            self.path()  # the crate that made it of what was generic
        if self.at < len(self.text) or len(path) > _LONGEST_RESULT:
            raise _Other
        return path

    def next(self) -> str:
        self.steps += 1
        if self.steps > _MOST_STEPS:
            raise _Other
        letter = self.text[self.at]
        self.at += 1
        return letter

    def has(self, letter: str) -> bool:
        if self.text[self.at : self.at + 1] == letter:
            self.at += 1
            return True
        return False

    def number(self) -> int:
        """A number in base 62: ``_`` is 0, ``0_`` is 1."""
        if self.has("_"):
            return 0
        value = 0
        for _ in range(12):
            letter = self.next()
            if letter == "_":
                return value + 1
            value = value * 62 + _DIGITS.index(letter) if letter in _DIGITS else self.no()
        return self.no()

    def no(self) -> int:
        raise _Other

    def disambiguator(self) -> int:
        return self.number() + 1 if self.has("s") else 0

    def identifier(self) -> str:
        is_encoded = self.has("u")
        match = re.compile(r"0|[1-9][0-9]{0,3}").match(self.text, self.at)
        if match is None:
            raise _Other
        self.at = match.end()
        self.has("_")
        size = int(match[0])
        word = self.text[self.at : self.at + size]
        if len(word) < size:
            raise _Other
        self.at += size
        return _decoded(word) if is_encoded else word

    def again(self, kind: str) -> str:
        """What was said before, at a place before this one."""
        start = self.at - 1
        place = self.number()
        if place >= start:
            raise _Other
        back, self.at = self.at, place
        text = self.path() if kind == "path" else self.type() if kind == "type" else self.constant()
        self.at = back
        return text

    def path(self, value: bool = False) -> str:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Other
        text = self.inner_path(value)
        self.depth -= 1
        if len(text) > _LONGEST_RESULT:
            raise _Other
        return text

    def inner_path(self, value: bool) -> str:
        kind = self.next()
        if kind == "C":
            self.disambiguator()
            return self.identifier()
        if kind == "N":
            return self.nested(value)
        if kind in "MX":
            self.disambiguator()
            self.path()  # of the implementation, which nobody names
            of = self.type()
            return f"<{of}>" if kind == "M" else f"<{of} as {self.path()}>"
        if kind == "Y":
            return f"<{self.type()} as {self.path()}>"
        if kind == "I":
            path = self.path(value)
            arguments = list(self.arguments())
            return f"{path}{'::' if value else ''}<{', '.join(arguments)}>"
        if kind == "B":
            return self.again("path")
        raise _Other

    def nested(self, value: bool) -> str:
        space = self.next()
        path = self.path(value)
        number = self.disambiguator()
        word = self.identifier()
        if space.isupper():
            what = {"C": "closure", "S": "shim"}.get(space, space)
            return f"{path}::{{{what}{':' if word else ''}{word}#{number}}}"
        return f"{path}::{word}" if word else path

    def arguments(self) -> list[str]:
        found = []
        while not self.has("E"):
            if self.has("L"):
                self.number()
            elif self.has("K"):
                found.append(self.constant())
            else:
                found.append(self.type())
        return found

    def type(self) -> str:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Other
        text = self.inner_type()
        self.depth -= 1
        if len(text) > _LONGEST_RESULT:
            raise _Other
        return text

    def inner_type(self) -> str:
        kind = self.next()
        if kind in _BASIC:
            return _BASIC[kind]
        if kind == "A":
            return f"[{self.type()}; {self.constant()}]"
        if kind == "S":
            return f"[{self.type()}]"
        if kind == "T":
            parts = self.listed()
            return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
        if kind in "RQ":
            if self.has("L"):
                self.number()
            return f"&{'mut ' if kind == 'Q' else ''}{self.type()}"
        if kind in "PO":
            return f"*{'const' if kind == 'P' else 'mut'} {self.type()}"
        if kind == "B":
            return self.again("type")
        if kind in "FDW":  # types of functions and of traits, which take more than they are worth here
            raise _Other
        self.at -= 1
        return self.path()

    def listed(self) -> list[str]:
        found = []
        while not self.has("E"):
            found.append(self.type())
        return found

    def constant(self) -> str:
        kind = self.next()
        if kind == "p":
            return "_"
        if kind == "B":
            return self.again("constant")
        sign = "-" if self.has("n") else ""
        match = re.compile(r"([0-9a-f]{0,32})_").match(self.text, self.at)
        if kind not in _BASIC or match is None:
            raise _Other
        self.at = match.end()
        value = int(match[1] or "0", 16)
        if kind == "b":
            return "true" if value else "false"
        if kind == "c":
            raise _Other
        return f"{sign}{value}"


def _decoded(word: str) -> str:
    """Punycode, with ``_`` where it has a hyphen."""
    before, _, after = word.rpartition("_")
    try:
        text = (f"{before}-{after}" if before else after).encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        raise _Other from None
    if not text.isprintable():
        raise _Other
    return text


__all__ = ["demangle"]
