"""The manual page, made from the command line's own description. Pure. Source: groff_man(7), man-pages(7)."""

from __future__ import annotations

from .describing import Argument, Command, explained
from .errors import DOCUMENTATION, printable

# What the exit statuses mean, in the words of :mod:`portable_backend.errors`.
_STATUSES = (
    ("0", "All is well."),
    ("1", "A wheel is not what its tag, or the target, promises; doctor: something is missing."),
    ("2", "The command line does not make sense."),
    ("3", "A setting is unknown, malformed, or contradicts another."),
    ("4", "The inner backend is missing, or cannot be told."),
    ("5", "The project does not build."),
    ("6", "The machine cannot do what the strategy needs."),
    ("7", "A file is no wheel, or breaks the rules of its format."),
    ("8", "A wheel cannot be repaired."),
    ("9", "The result cannot be written."),
    ("70", "A mistake of ours."),
    ("130, 143", "Interrupted, terminated."),
)
_VARIABLES = (
    ("PORTABLE_BACKEND_*", "Settings, by the name of each; PORTABLE_BACKEND_MODE=off turns everything off."),
    ("PORTABLE_BACKEND_TRACEBACK", "With 1, an error shows where it came from."),
    ("AUDITWHEEL_PLAT, AUDITWHEEL_ZIP_COMPRESSION_LEVEL", "Defaults of repair."),
    ("SOURCE_DATE_EPOCH", "The time in everything that is written."),
    ("NO_COLOR, FORCE_COLOR", "No colours; colours where there is no terminal, too."),
    ("GITHUB_ACTIONS, GITHUB_STEP_SUMMARY", "Set by GitHub Actions: annotations, and a summary of the job."),
)


def make_manual(root: Command, version: str) -> str:
    """The page ``portable-backend.1``, as groff source of ASCII alone."""
    lines = [f'.TH PORTABLE-BACKEND 1 "" "portable-backend {version}" "User Commands"']
    lines += [".SH NAME", _text("portable-backend - build, judge and repair portable wheels"), ".SH SYNOPSIS"]
    for command in root.commands:
        for each in command.walk():
            lines += [] if each.commands else _synopsis(each)
    lines += [".SH DESCRIPTION"]
    lines.append(
        _text("A build backend that wraps another one and returns wheels that already comply with a manylinux or")
    )
    lines.append(
        _text("musllinux policy; and the same from the command line, for projects that have never heard of it.")
    )
    lines += [".SH OPTIONS", *(line for option in root.options for line in _tagged(option)), ".SH COMMANDS"]
    for command in root.commands:
        for each in command.walk():
            lines += _section(each)
    lines += [".SH EXIT STATUS", *(line for pair in _STATUSES for line in _entry(*pair))]
    lines += [".SH ENVIRONMENT", *(line for pair in _VARIABLES for line in _entry(*pair))]
    lines += [".SH SEE ALSO", _text(f"The documentation: {DOCUMENTATION}")]
    return "\n".join([*lines, ""])


def _synopsis(command: Command) -> list[str]:
    words = " ".join(_value(each) for each in command.arguments)
    options = " [\\fIOPTION\\fR]..." if command.options else ""
    return [f"\\fB{_escape(' '.join(command.path))}\\fR{options} {words}".rstrip(), ".br"]


def _section(command: Command) -> list[str]:
    aliases = f" ({', '.join(command.aliases)})" if command.aliases else ""
    lines = [f".SS {_escape(' '.join(command.path[1:]) + aliases)}", _text(_sentence(command.help))]
    return [*lines, *(line for each in (*command.arguments, *command.options) for line in _tagged(each))]


def _tagged(argument: Argument) -> list[str]:
    head = ", ".join(f"\\fB{_escape(flag)}\\fR" for flag in argument.flags)
    value = f"\\fI{_escape(argument.value)}\\fR" if argument.value else ""
    return [".TP", " ".join(filter(None, (head, value))), _text(_sentence(explained(argument)))]


def _value(argument: Argument) -> str:
    word = f"\\fI{_escape(argument.value)}\\fR{'...' if argument.many else ''}"
    return word if argument.needed else f"[{word}]"


def _entry(head: str, text: str) -> list[str]:
    return [".TP", f"\\fB{_escape(head)}\\fR", _text(text)]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _text(text: str) -> str:
    """A line of text: one that begins with a point or an apostrophe would be a request."""
    plain = _escape(text)
    return f"\\&{plain}" if plain.startswith((".", "'")) else plain


def _escape(text: str) -> str:
    text = printable(text)
    for sign, written in (
        ("\\", "\\e"),
        ("-", "\\-"),
        ("\N{HORIZONTAL ELLIPSIS}", "..."),
        ("'", "\\(aq"),
        ("~", "\\(ti"),
    ):
        text = text.replace(sign, written)
    return text.encode("ascii", "xmlcharrefreplace").decode()
