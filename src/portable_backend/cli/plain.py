"""Plain command lines, read without a parser: options in full, each value behind its option, what is left in one piece.

Nearly all that ``audit`` and ``repair`` are given are plain, and :mod:`argparse` takes a third of what an audit of a
small wheel takes. The options are defined once, by functions that add them to a parser; a :class:`PlainLine` is told of
them in the parser's place. It reads what the parser would read in the same way, and nothing else: help, mistakes,
abbreviations and whatever begins with a dash and is no option are left to the parser.
"""

from __future__ import annotations

from types import SimpleNamespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any, Optional, Union

    #: What options are added to.
    Options = Union[argparse.ArgumentParser, "PlainLine"]

# What an option may be told of that changes nothing of how it is read.
_WORDS = {"help", "metavar"}


class PlainLine:
    """The options of a command, as far as plain lines go."""

    def __init__(self) -> None:
        self._options: dict[str, tuple[str, str, Any]] = {}  # name of the value, action, type
        self._values: dict[str, Any] = {}
        self._rest = ""
        self._plain = True

    def add_argument(self, *names: str, **how: Any) -> None:
        """As the method of :class:`argparse.ArgumentParser`; with what is not known here, no line is plain."""
        action = how.get("action", "store")
        if not names[0].startswith("-"):
            self._plain &= not self._rest and how.keys() - _WORDS == {"nargs"} and how["nargs"] == "+"
            self._rest = names[0]
            return
        known = {"store": {"default", "type"}, "append": {"action", "default"}, "store_true": {"action"}}
        self._plain &= action in known and not how.keys() - _WORDS - known[action]
        name = next((each for each in names if each.startswith("--")), names[0]).lstrip("-").replace("-", "_")
        self._options.update(dict.fromkeys(names, (name, action, how.get("type"))))
        self._values[name] = how.get("default", False if action == "store_true" else None)

    def set_defaults(self, **values: Any) -> None:
        """As the method of :class:`argparse.ArgumentParser`."""
        self._values.update(values)

    def read(self, arguments: Sequence[str]) -> Optional[SimpleNamespace]:
        """What the parser would return; ``None`` where only the parser knows."""
        if not self._plain or not self._rest:
            return None
        values, end = dict(self._values), 0
        rest: list[str] = []
        left = iter(enumerate(arguments))
        for index, argument in left:
            if not argument.startswith("-"):
                if rest and index != end:
                    return None
                rest.append(argument)
                end = index + 1
                continue
            if argument not in self._options:
                return None
            name, action, _ = self._options[argument]
            if action == "store_true":
                values[name] = True
                continue
            _, value = next(left, (0, "-"))
            if value.startswith("-"):
                return None
            values[name] = value if action == "store" else [*(values[name] or ()), value]
        if not rest or not self._convert(values):
            return None
        return SimpleNamespace(**values, **{self._rest: rest})

    def _convert(self, values: dict[str, Any]) -> bool:
        """Make values of texts, defaults among them; false if one is no such value."""
        for name, _, kind in self._options.values():
            if kind is not None and isinstance(values[name], str):
                try:
                    values[name] = kind(values[name])
                except Exception:  # whatever it is, the parser knows what to say of it
                    return False
        return True


def add_quiet(parser: Options, text: str = "no progress") -> None:
    """Add ``--quiet``; ``text`` is its help."""
    parser.add_argument("-q", "--quiet", action="store_true", help=text)


__all__ = ["PlainLine", "add_quiet"]
