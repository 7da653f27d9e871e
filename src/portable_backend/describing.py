"""The command line as values, read from its parser; what help, tab completion and the manual page are made from."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Optional

from .errors import printable
from .records import NamedTuple

_COLUMN = 26
_NARROWEST = 40


class Argument(NamedTuple):
    """An option, or an argument without a name (``flags`` is empty then).

    :param value: what stands for the value, nothing for an option that takes none.
    :param many: whether it may be given, or may take, several values.
    :param needed: whether it must be given.
    :param group: the title of its group; nothing for those that every help shows in full.
    """

    flags: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    help: str
    many: bool
    needed: bool
    group: str


class Command(NamedTuple):
    """A command, with the commands below it.

    :param path: the words that call it, the program's name first.
    """

    path: tuple[str, ...]
    aliases: tuple[str, ...]
    help: str
    options: tuple[Argument, ...]
    arguments: tuple[Argument, ...]
    commands: tuple[Command, ...]

    def walk(self) -> list[Command]:
        """This and all below, in order."""
        return [self, *(each for command in self.commands for each in command.walk())]


def read_command(
    parser: argparse.ArgumentParser, path: tuple[str, ...], help_text: str = "", aliases: tuple[str, ...] = ()
) -> Command:
    """A parser as a value. Its options must have been made; see :func:`portable_backend.cli.described`."""
    standard = {parser._positionals.title, parser._optionals.title}
    options: list[Argument] = []
    arguments: list[Argument] = []
    commands: list[Command] = []
    for group in parser._action_groups:
        for action in group._group_actions:
            if action.help == argparse.SUPPRESS:
                continue
            if isinstance(action, argparse._SubParsersAction):
                commands += _commands(action, path)
                continue
            title = "" if group.title in standard else str(group.title)
            (options if action.option_strings else arguments).append(_argument(action, title))
    return Command(path, aliases, help_text, tuple(options), tuple(arguments), tuple(commands))


def _commands(action: argparse._SubParsersAction[argparse.ArgumentParser], path: tuple[str, ...]) -> list[Command]:
    names: dict[int, list[str]] = {}
    for name, parser in action.choices.items():
        names.setdefault(id(parser), []).append(name)
    helps = {str(each.dest): str(each.help or "") for each in action._choices_actions}
    return [
        read_command(action.choices[first], (*path, first), helps.get(first, ""), tuple(more))
        for first, *more in names.values()
    ]


def _argument(action: argparse.Action, group: str) -> Argument:
    takes = action.nargs != 0
    metavar = action.metavar if isinstance(action.metavar, str) else None
    value = (metavar or (action.dest.upper().replace("_", "-"))) if takes else ""
    choices = tuple(map(str, action.choices)) if action.choices and takes else ()
    many = action.nargs in ("*", "+") or isinstance(action, argparse._AppendAction)
    needed = action.required and action.nargs not in ("*", "?")
    text = (action.help or "") % {**vars(action), "prog": "portable-backend"}
    return Argument(tuple(action.option_strings), value, choices, text, many, needed, group)


# --- help ---------------------------------------------------------------------------------------------------------


def usage(command: Command) -> str:
    """One line."""
    words = [*command.path, *(["[OPTION]…"] if command.options else [])]
    for argument in command.arguments:
        word = f"{argument.value}…" if argument.many else argument.value
        words.append(word if argument.needed else f"[{word}]")
    return " ".join([*words, *(["COMMAND …"] if command.commands else [])])


def help_text(command: Command, width: int, everything: bool = False) -> str:
    """Help that fits a screen: an option a line; of groups with a title only names, unless ``everything`` is asked."""
    width = max(width, _NARROWEST)
    lines = [f"usage: {usage(command)}"]
    lines += _wrapped(command.help, width, "") if command.help else []
    lines.append("")
    for each in command.commands:
        aliases = f" ({', '.join(each.aliases)})" if each.aliases else ""
        lines += _row(each.path[-1] + aliases, each.help, width)
    lines += ["", "options:"] if command.commands else []
    for argument in (*command.arguments, *command.options):
        if not argument.group and (argument.help or argument.flags):
            lines += _row(_head(argument), explained(argument), width)
    for group in dict.fromkeys(option.group for option in command.options if option.group):
        members = [option for option in command.options if option.group == group]
        if everything:
            lines += ["", f"{group}:", *(line for each in members for line in _row(_head(each), each.help, width))]
        else:
            names = " ".join(each.flags[-1] for each in members)
            lines += _wrapped(f"{group} (--help-all explains): {names}", width, "  ")
    return "\n".join([*lines, ""])


def _head(argument: Argument) -> str:
    if not argument.flags:
        return argument.value
    return f"{', '.join(argument.flags)}{f' {argument.value}' if argument.value else ''}"


def explained(argument: Argument) -> str:
    """Its help, with the choices where that does not name them."""
    if not argument.choices or all(choice in argument.help for choice in argument.choices):
        return argument.help
    return f"{argument.help} ({', '.join(argument.choices)})"


def _row(head: str, text: str, width: int) -> list[str]:
    if len(head) <= _COLUMN - 4:
        first = f"  {head:<{_COLUMN - 4}}  "
        body = _wrapped(text, width - _COLUMN, "") or [""]
        return [(first + body[0]).rstrip(), *(" " * _COLUMN + line for line in body[1:])]
    if len(head) + len(text) + 4 <= width:
        return [f"  {head}  {text}"]
    return [f"  {head}", *_wrapped(text, width, " " * _COLUMN)]


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(printable(text), width, initial_indent=indent, subsequent_indent=indent)


def find_command(root: Command, path: Sequence[str]) -> Optional[Command]:
    """The command that these words call."""
    return next((each for each in root.walk() if list(each.path) == list(path)), None)
