"""Scripts for tab completion, made from the command line's own description. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

from .describing import Argument, Command
from .policy.policy import get_policies
from .targets import LEGACY_MANYLINUX, Arch, Libc

# What stands for a value, and how it is completed; other values are whatever the user knows.
_FILES = {"WHEEL": "*.whl", "SOURCE": "", "X.Y|PATH": "", "FILE": ""}
_DIRECTORIES = frozenset({"DIR", "DIR[:DIR]…"})


def _choices(argument: Argument) -> tuple[str, ...]:
    if argument.value == "TAG":
        known = [policy.tag.policy for libc in Libc for policy in get_policies(libc, Arch.X86_64)]
        return tuple(dict.fromkeys([*known, *LEGACY_MANYLINUX]))
    return argument.choices


def _name(command: Command) -> str:
    return " ".join(command.path[1:])


# --- bash ---------------------------------------------------------------------------------------------------------

_BASH = """\
# Tab completion of portable-backend for bash, made by "portable-backend completion bash".

__portable_backend_add() {
  local line
  while IFS= read -r line; do COMPREPLY+=("$line"); done
}

__portable_backend_files() {
  compopt -o filenames 2>/dev/null
  if [[ -n $1 ]]; then
    __portable_backend_add < <(compgen -d -- "$cur"; compgen -f -X "!$1" -- "$cur")
  else
    __portable_backend_add < <(compgen -f -- "$cur")
  fi
}

_portable_backend() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= index
  COMPREPLY=()
  # bash takes --option=value for three words.
  if [[ $cur == '=' ]]; then cur=
  elif [[ $prev == '=' ]]; then prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  for ((index = 1; index < COMP_CWORD; index++)); do
    case "$command/${COMP_WORDS[index]}" in
%(commands)s
    esac
  done
  case "$command/$prev" in
%(values)s
  esac
  case "$command" in
%(words)s
  esac
}

complete -F _portable_backend portable-backend
"""


def bash(root: Command) -> str:
    """For bash 3.2 and newer."""
    commands, values, words = [], [], []
    for command in root.walk():
        name = _name(command)
        for each in command.commands:
            patterns = "|".join(shlex.quote(f"{name}/{word}") for word in (each.path[-1], *each.aliases))
            commands.append(f"      {patterns}) command={shlex.quote(_name(each))} ;;")
        for option in command.options:
            if option.value:
                patterns = "|".join(shlex.quote(f"{name}/{flag}") for flag in option.flags)
                values.append(f"    {patterns}) {_bash_value(option)}return ;;")
        words.append(_bash_words(command))
    return _BASH % {"commands": "\n".join(commands), "values": "\n".join(values), "words": "\n".join(words)}


def _bash_value(argument: Argument) -> str:
    choices = _choices(argument)
    if choices:
        return f'__portable_backend_add < <(compgen -W {shlex.quote(" ".join(choices))} -- "$cur"); '
    if argument.value in _FILES:
        return f"__portable_backend_files {shlex.quote(_FILES[argument.value])}; "
    if argument.value in _DIRECTORIES:
        return 'compopt -o filenames 2>/dev/null; __portable_backend_add < <(compgen -d -- "$cur"); '
    return ""


def _bash_words(command: Command) -> str:
    flags = " ".join(flag for option in command.options for flag in option.flags)
    below = " ".join(word for each in command.commands for word in (each.path[-1], *each.aliases))
    lines = [f"    {shlex.quote(_name(command))})"]
    lines.append(
        f'      if [[ $cur == -* ]]; then __portable_backend_add < <(compgen -W {shlex.quote(flags)} -- "$cur")'
    )
    if below:
        lines.append(f'      else __portable_backend_add < <(compgen -W {shlex.quote(below)} -- "$cur")')
    for argument in command.arguments[:1]:
        value = _bash_value(argument).strip().rstrip(";")
        lines += [f"      else {value}"] if value else []
    return "\n".join([*lines, "      fi ;;"])


# --- zsh ----------------------------------------------------------------------------------------------------------


def zsh(root: Command) -> str:
    """For a file ``_portable-backend`` on ``$fpath``, or to be evaluated after ``compinit``."""
    head = "#compdef portable-backend\n"
    head += '# Tab completion of portable-backend for zsh, made by "portable-backend completion zsh".\n'
    body = "\n".join(_zsh_function(command) for command in reversed(root.walk()))
    tail = 'if [[ ${funcstack[1]} == _portable-backend ]]; then\n  _portable_backend "$@"\nelse\n'
    return f"{head}\n{body}\n{tail}  compdef _portable_backend portable-backend\nfi\n"


def _zsh_function(command: Command) -> str:
    specs = [_zsh_option(option) for option in command.options]
    specs += [_zsh_positional(argument) for argument in command.arguments]
    name = "_".join(["_portable_backend", *command.path[1:]])
    lines = [f"{name}() {{"]
    if not command.commands:
        return "\n".join(
            [*lines, "  _arguments -s \\", *(f"    {spec} \\" for spec in specs), "    && return", "}", ""]
        )
    lines += ["  local -a commands", "  local state line", "  typeset -A opt_args"]
    lines += ["  _arguments -s -C \\", *(f"    {spec} \\" for spec in specs)]
    lines += ["    '1: :->command' '*:: :->rest' && return", "  case $state in", "    command)", "      commands=("]
    for each in command.commands:
        lines += [f"        {shlex.quote(f'{_zsh_name(word)}:{each.help}')}" for word in (each.path[-1], *each.aliases)]
    lines += ["      )", "      _describe command commands ;;", "    rest)", "      case $line[1] in"]
    for each in command.commands:
        lines.append(f"        {'|'.join((each.path[-1], *each.aliases))}) {name}_{each.path[-1]} ;;")
    return "\n".join([*lines, "      esac ;;", "  esac", "}", ""])


def _zsh_name(text: str) -> str:
    return text.replace(":", "\\:")


def _zsh_text(text: str) -> str:
    for sign in "\\[]:":
        text = text.replace(sign, f"\\{sign}")
    return text


def _zsh_option(option: Argument) -> str:
    value = f":{_zsh_text(option.value)}:{_zsh_action(option)}" if option.value else ""
    text = f"[{_zsh_text(option.help)}]{value}"
    if option.many:
        return " ".join(shlex.quote(f"*{flag}{_equals(flag, option)}{text}") for flag in option.flags)
    if len(option.flags) == 1:
        return shlex.quote(f"{option.flags[0]}{_equals(option.flags[0], option)}{text}")
    exclusive = shlex.quote(f"({' '.join(option.flags)})")
    flags = ",".join(f"{flag}{_equals(flag, option)}" for flag in option.flags)
    return f"{exclusive}{{{flags}}}{shlex.quote(text)}"


def _equals(flag: str, option: Argument) -> str:
    return "=" if flag.startswith("--") and option.value else ""


def _zsh_positional(argument: Argument) -> str:
    place = "*" if argument.many else "1"
    return shlex.quote(f"{place}:{_zsh_text(argument.value)}:{_zsh_action(argument)}")


def _zsh_action(argument: Argument) -> str:
    choices = _choices(argument)
    if choices:
        return f"({' '.join(choices)})"
    if argument.value in _FILES:
        return f'_files -g "{_FILES[argument.value]}"' if _FILES[argument.value] else "_files"
    return "_files -/" if argument.value in _DIRECTORIES else " "


# --- fish ---------------------------------------------------------------------------------------------------------


def fish(root: Command) -> str:
    """For ``~/.config/fish/completions/portable-backend.fish``."""
    lines = ['# Tab completion of portable-backend for fish, made by "portable-backend completion fish".']
    lines.append("complete -c portable-backend -f")
    for command in root.walk():
        here = _fish_here(command)
        for each in command.commands:
            for word in (each.path[-1], *each.aliases):
                lines.append(f"complete -c portable-backend -n {_fish(here)} -a {_fish(word)} -d {_fish(each.help)}")
        for argument in command.arguments:
            action = _fish_action(argument)
            lines += [f"complete -c portable-backend -n {_fish(here)}{action}"] if action else []
        for option in command.options:
            flags = " ".join(f"-l {each[2:]}" if each.startswith("--") else f"-s {each[1:]}" for each in option.flags)
            action = (_fish_action(option) or " -x") if option.value else ""
            lines.append(f"complete -c portable-backend -n {_fish(here)} {flags}{action} -d {_fish(option.help)}")
    return "\n".join([*lines, ""])


def _fish(text: str) -> str:
    """A word: within single quotes fish knows the backslash before a quote and before itself."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _fish_here(command: Command) -> str:
    seen = [f"__fish_seen_subcommand_from {' '.join((word,))}" for word in command.path[1:]]
    if command.aliases:
        seen[-1] += f" {' '.join(command.aliases)}"
    below = [word for each in command.commands for word in (each.path[-1], *each.aliases)]
    seen += [f"not __fish_seen_subcommand_from {' '.join(below)}"] if below else []
    return "; and ".join(seen)


def _fish_action(argument: Argument) -> str:
    choices = _choices(argument)
    if choices:
        return f" -x -a {_fish(' '.join(choices))}"
    if argument.value in _FILES:
        ending = _FILES[argument.value].lstrip("*")
        return f" -x -a '(__fish_complete_suffix {ending})'" if ending else " -r -F"
    return " -x -a '(__fish_complete_directories)'" if argument.value in _DIRECTORIES else ""


SCRIPTS: Mapping[str, Callable[[Command], str]] = {"bash": bash, "zsh": zsh, "fish": fish}
