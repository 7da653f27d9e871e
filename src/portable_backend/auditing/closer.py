"""A closer look at a wheel than judging takes: its sizes, and who calls for the symbols that findings name.

Judging never needs this, so nothing imports it until somebody asks to have a verdict explained.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Optional, Union

from ..elf import ElfFacts, group_names
from ..errors import UsageError
from ..records import NamedTuple
from ..targets import Libc
from ..wheels import Wheel, open_wheel
from .callers import Calls, find_callers
from .facts import WheelFacts, basename, read_wheel_facts
from .finding import Finding
from .graph import Graph, plan_graph
from .linkmap import LinkMap, parse_map
from .read import require_linux
from .verdict import JudgeOptions, Verdict, judge

# Larger files are not held in memory for this; and of one file, and of all, no more symbols are looked for.
_MOST_BYTES = 512 << 20
_MOST_OF_FILE, _MOST_OF_ALL = 256, 4096
# Of a library that is missing, the symbols that are told as examples.
EXAMPLES = 6
_LARGEST_MAP = 512 << 20
# To look through a larger file takes a noticeable part of a second.
_SLOW = 16 << 20


class Size(NamedTuple):
    """Bytes of a member: as it will be installed, and as it lies in the wheel."""

    full: int
    packed: int


class Closer(NamedTuple):
    """All that a report for people draws on.

    :param calls: by member and symbol, where it was looked for.
    :param examples: by member and library that is missing, some of the symbols taken from it, as far as versions tell.
    """

    name: str
    facts: WheelFacts
    verdict: Verdict
    graph: Graph
    sizes: Mapping[str, Size]
    calls: Mapping[tuple[str, str], Calls]
    examples: Mapping[tuple[str, str], tuple[str, ...]]


def look_closer(
    path: Union[str, os.PathLike[str]],
    options: JudgeOptions,
    maps: Sequence[str] = (),
    *,
    callers: bool = True,
    progress: Callable[[str], None] = lambda line: None,
) -> Closer:
    """Judge the wheel at ``path`` and read what a report tells besides.

    :param maps: linker maps, each ``FILE`` or ``MEMBER=FILE``.
    :param callers: whether to look for who calls what findings name.
    :param progress: called with a line before something that takes seconds.
    :raises UsageError: if it is a wheel for another system than Linux, or a map fits no member.
    :raises WheelError: if it is malformed.
    """
    name = os.path.basename(os.fspath(path))
    require_linux(name)
    with open_wheel(path) as wheel:
        facts = read_wheel_facts(wheel)
        verdict = judge(facts, options)
        by_member = _read_maps(maps, sorted(facts.elves))
        examples = _examples(facts.elves, verdict.findings)
        wanted = _wanted(facts.elves, verdict.findings, examples) if callers else {}
        calls = _find_calls(wheel, wanted, by_member, progress)
        sizes = {member: Size(wheel.size(member), wheel.compressed_size(member)) for member in wheel.members}
    graph = plan_graph(facts.elves, verdict.libc or Libc.GLIBC)
    return Closer(name, facts, verdict, graph, sizes, calls, examples)


def _examples(elves: Mapping[str, ElfFacts], findings: Iterable[Finding]) -> dict[tuple[str, str], tuple[str, ...]]:
    found = {}
    for finding in findings:
        if finding.kind in ("external-library", "libpython") and finding.library and finding.member in elves:
            groups = group_names(elves[finding.member].imports)
            names = [
                f"{name}@{version}"
                for (library, version), each in groups.items()
                if library == finding.library and version
                for name in each
            ]
            if names:
                found[finding.member, finding.library] = tuple(names[:EXAMPLES])
    return found


def _wanted(
    elves: Mapping[str, ElfFacts],
    findings: Iterable[Finding],
    examples: Mapping[tuple[str, str], tuple[str, ...]],
) -> dict[str, list[str]]:
    """By member the symbols that are to be looked for."""
    wanted: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for finding in findings:
        if finding.member in elves and finding.symbol and _is_name(finding):
            wanted[finding.member][finding.symbol] = None
    for (member, _), names in examples.items():
        wanted[member].update(dict.fromkeys(names))
    return {member: list(symbols) for member, symbols in wanted.items()}


def _find_calls(
    wheel: Wheel,
    wanted: Mapping[str, Sequence[str]],
    maps: Mapping[str, LinkMap],
    progress: Callable[[str], None],
) -> dict[tuple[str, str], Calls]:
    found: dict[tuple[str, str], Calls] = {}
    left = _MOST_OF_ALL
    for member, symbols in wanted.items():
        some = symbols[: min(_MOST_OF_FILE, left)]
        left -= len(some)
        if wheel.size(member) > _MOST_BYTES:
            calls = dict.fromkeys(some, Calls((), 0, "the file is too large to be looked through"))
        else:
            if wheel.size(member) > _SLOW:
                progress(f"looking through {member} for who calls what is in the way")
            calls = find_callers(wheel.read_buffer(member), some) if some else {}
        link_map = maps.get(member)
        for symbol, each in calls.items():
            found[member, symbol] = each if link_map is None else _with_objects(each, link_map)
    return found


def _is_name(finding: Finding) -> bool:
    """Whether the symbol of a finding is one, rather than a version that no symbol refers to."""
    return finding.kind != "symbol-version" or "@" in (finding.symbol or "")


def _with_objects(calls: Calls, link_map: LinkMap) -> Calls:
    named = tuple(each._replace(object=link_map.object_at(each.address)) for each in calls.callers)
    return calls._replace(callers=named)


def _read_maps(maps: Sequence[str], members: Sequence[str]) -> dict[str, LinkMap]:
    found: dict[str, LinkMap] = {}
    for text in maps:
        before, equals, after = text.partition("=")
        named = before if equals and before in members else None
        link_map = _read_map(after if named else text)
        member = named or _member_of(link_map, members)
        if member is None:
            cure = f"write --map MEMBER=FILE; the native files are {', '.join(members[:EXAMPLES]) or 'none'}"
            raise UsageError(f"--map {text}: it does not say for which file of the wheel it is", cure)
        found[member] = link_map
    return found


def _read_map(path: str) -> LinkMap:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            if os.fstat(file.fileno()).st_size > _LARGEST_MAP:
                raise UsageError(f"--map {path}: is larger than a linker map has reason to be")
            link_map = parse_map(file)
    except OSError as error:
        raise UsageError(f"--map {path}: {error.strerror or error}", "give the file of -Wl,-Map=FILE") from None
    if not link_map.starts:
        raise UsageError(f"--map {path}: is no linker map that can be read", "link with -Wl,-Map=FILE (GNU ld or lld)")
    return link_map


def _member_of(link_map: LinkMap, members: Sequence[str]) -> Optional[str]:
    if len(members) == 1:
        return members[0]
    output = basename(link_map.output or "")
    fitting = [member for member in members if basename(member) == output]
    return fitting[0] if len(fitting) == 1 else None


__all__ = ["EXAMPLES", "Closer", "Size", "look_closer"]
