"""What changed between two wheels: tags, policy, members, native files, findings. Pure.

Members are compared by their content, not by how it is compressed; native files by what the loader reads of them. A
member of the metadata directory, whose name has the version in it, and a graft, whose name has a digest in it, are
compared with their counterparts in the other wheel.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Optional

from ..auditing.closer import Closer
from ..auditing.explain import line_of
from ..auditing.finding import Finding
from ..auditing.rules import is_graft
from ..elf import ElfFacts, group_names
from ..errors import one_line
from ..records import NamedTuple
from .data import VERSION, finding_data

_FEW, _FEW_NAMES = 12, 4


class Change(NamedTuple):
    """One value that is another in the new wheel. ``None`` stands for one that is not there."""

    what: str
    old: Any
    new: Any


class MemberChange(NamedTuple):
    """A member that is new, gone or other: its name and size in each wheel, ``None`` where there is none."""

    old: Optional[str]
    new: Optional[str]
    old_size: Optional[int]
    new_size: Optional[int]

    @property
    def name(self) -> str:
        """Its name in the new wheel, or else in the old one."""
        return self.new or self.old or ""


class NativeChange(NamedTuple):
    """What the loader sees of a native file that is otherwise than it was.

    :param values: soname, needed, rpath and the like.
    :param added: symbol versions that are newly required, as ``library: VERSION``, each with a few symbols.
    :param removed: those no longer required.
    """

    member: str
    values: tuple[Change, ...]
    added: Mapping[str, tuple[str, ...]]
    removed: Mapping[str, tuple[str, ...]]


class Changes(NamedTuple):
    """All that differs between two wheels.

    :param values: of the wheel as a whole.
    """

    old: str
    new: str
    values: tuple[Change, ...]
    members: tuple[MemberChange, ...]
    native: tuple[NativeChange, ...]
    found: tuple[tuple[Closer, Finding], ...]
    gone: tuple[tuple[Closer, Finding], ...]

    @property
    def different(self) -> bool:
        """Whether anything differs. Two names for the same content are no difference; other tags are."""
        return any((self.values, self.members, self.native, self.found, self.gone))


def find_changes(old: Closer, new: Closer) -> Changes:
    """Compare two wheels."""
    pairs = _pairs(old, new)
    return Changes(
        old.name,
        new.name,
        tuple(_values(old, new)),
        tuple(_members(pairs, old, new)),
        tuple(_native(pairs, old, new)),
        tuple((new, finding) for finding in _less(new.verdict.findings, old.verdict.findings)),
        tuple((old, finding) for finding in _less(old.verdict.findings, new.verdict.findings)),
    )


_MARK = re.compile(r"(?:-[0-9a-f]{8})+(?=\.so(?:\.|$))")


def _pairs(old: Closer, new: Closer) -> list[tuple[Optional[str], Optional[str]]]:
    """The members of both wheels, each with its counterpart: the same name, or one that differs in version or mark."""
    keys_of_old, keys_of_new = _by_key(old), _by_key(new)
    keys = sorted({*keys_of_old, *keys_of_new})
    return [(keys_of_old.get(key), keys_of_new.get(key)) for key in keys]


def _by_key(look: Closer) -> dict[str, str]:
    """The members by their names without version and mark, where these tell them apart; else by their names."""
    versioned = f"{look.facts.dist_info.removesuffix('.dist-info')}."

    def key(member: str) -> str:
        if member.startswith(versioned):
            return f"<project>.{member[len(versioned) :]}"
        return _MARK.sub("", member) if is_graft(member) else member

    counted = Counter(map(key, look.sizes))
    return {key(member) if counted[key(member)] == 1 else member: member for member in look.sizes}


def _less(some: Iterable[Finding], others: Iterable[Finding]) -> list[Finding]:
    known = set(others)
    return [finding for finding in some if finding not in known]


def _values(old: Closer, new: Closer) -> Iterator[Change]:
    parts: tuple[tuple[str, Callable[[Closer], Any]], ...] = (
        ("project", lambda look: look.facts.name.name),
        ("version", lambda look: look.facts.name.version),
        ("python tags", lambda look: sorted(look.facts.name.python)),
        ("abi tags", lambda look: sorted(look.facts.name.abi)),
        ("platform tags", lambda look: sorted(look.facts.name.platforms)),
        ("policy", lambda look: look.verdict.policy_name),
        ("compliant", lambda look: look.verdict.compliant),
        ("external libraries", lambda look: list(look.verdict.external_libraries)),
    )
    for what, value in parts:
        if value(old) != value(new):
            yield Change(what, value(old), value(new))


def _members(pairs: Iterable[tuple[Optional[str], Optional[str]]], old: Closer, new: Closer) -> Iterator[MemberChange]:
    for before, after in pairs:
        renamed = before != after and (after is None or not after.startswith(new.facts.dist_info.rpartition(".")[0]))
        if renamed or not _same(before, after, old, new):
            old_size = None if before is None else old.sizes[before].full
            new_size = None if after is None else new.sizes[after].full
            yield MemberChange(before, after, old_size, new_size)


def _same(before: Optional[str], after: Optional[str], old: Closer, new: Closer) -> bool:
    if before is None or after is None or old.sizes[before].full != new.sizes[after].full:
        return False
    return old.facts.digests[before] == new.facts.digests[after]


_NATIVE: tuple[tuple[str, Callable[[ElfFacts], Any]], ...] = (
    ("soname", lambda facts: facts.soname),
    ("needed", lambda facts: list(facts.needed)),
    ("rpath", lambda facts: facts.rpath),
    ("runpath", lambda facts: facts.runpath),
    ("loader", lambda facts: facts.interpreter),
    ("machine", lambda facts: facts.machine),
    ("executable stack", lambda facts: facts.executable_stack),
    ("instruction set", lambda facts: facts.isa_needed),
)


def _native(pairs: Iterable[tuple[Optional[str], Optional[str]]], old: Closer, new: Closer) -> Iterator[NativeChange]:
    for old_name, new_name in pairs:
        before = old.facts.elves.get(old_name or "")
        after = new.facts.elves.get(new_name or "")
        if _same(old_name, new_name, old, new) or before is after is None:
            continue
        values = _native_values(before, after)
        had, has = _versions(before), _versions(after)
        added = {key: has[key] for key in sorted(has.keys() - had.keys())}
        removed = {key: had[key] for key in sorted(had.keys() - has.keys())}
        if values or added or removed:
            yield NativeChange(new_name or old_name or "", values, added, removed)


def _native_values(before: Optional[ElfFacts], after: Optional[ElfFacts]) -> tuple[Change, ...]:
    if before is None or after is None:  # of a new file, its versions tell enough
        return ()
    return tuple(Change(what, value(before), value(after)) for what, value in _NATIVE if value(before) != value(after))


def _versions(facts: Optional[ElfFacts]) -> dict[str, tuple[str, ...]]:
    if facts is None:
        return {}
    users = group_names(facts.imports)
    return {
        f"{_MARK.sub('', need.library)}: {version}": tuple(users.get((need.library, version), ())[:_FEW])
        for need in facts.version_needs
        for version in need.versions
    }


# --- text --------------------------------------------------------------------------------------------------------


def changes_text(changes: Changes, verbose: bool = False) -> str:
    """What changed, a line each: ``-`` for what was, ``+`` for what is, ``~`` for what is another.

    :param verbose: every member, not the first few.
    """
    if not changes.different:
        return one_line(f"{changes.old} and {changes.new}: nothing differs")
    lines = [f"{changes.old} → {changes.new}"]
    lines += [f"  ~ {change.what}: {_said(change.old)} → {_said(change.new)}" for change in changes.values]
    lines += _section("files:", [_member_line(change) for change in changes.members], verbose)
    for native in changes.native:
        lines += _section(f"{native.member}:", list(_native_lines(native)), verbose)
    lines += _section("findings:", list(_finding_lines(changes)), verbose)
    return "\n".join(map(one_line, lines))


def _section(head: str, lines: Sequence[str], verbose: bool) -> list[str]:
    if not lines:
        return []
    shown = lines if verbose else lines[: 2 * _FEW]
    more = [f"  … and {len(lines) - len(shown)} more (-v shows them)"] if len(shown) < len(lines) else []
    return [f"  {head}", *shown, *more]


def _said(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _member_line(change: MemberChange) -> str:
    if change.old_size is None or change.new_size is None:
        sign, size = ("+", change.new_size) if change.old is None else ("-", change.old_size)
        return f"  {sign} {change.name} ({size} bytes)"
    names = change.name if change.old == change.new else f"{change.old} → {change.new}"
    return f"  ~ {names} ({change.old_size} → {change.new_size} bytes, {change.new_size - change.old_size:+})"


def _native_lines(native: NativeChange) -> Iterator[str]:
    for change in native.values:
        if isinstance(change.old, list):
            yield from (f"  - {change.what} {each}" for each in change.old if each not in change.new)
            yield from (f"  + {change.what} {each}" for each in change.new if each not in change.old)
            if sorted(change.old) == sorted(change.new):
                yield f"  ~ {change.what}: {_said(change.old)} → {_said(change.new)}"
        else:
            yield f"  ~ {change.what}: {_said(change.old)} → {_said(change.new)}"
    for sign, versions in (("-", native.removed), ("+", native.added)):
        for version, names in versions.items():
            some = [*names[:_FEW_NAMES], *(["…"] if len(names) > _FEW_NAMES else [])]
            yield f"  {sign} {version}" + (f" ({', '.join(some)})" if some else "")


def _finding_lines(changes: Changes) -> Iterator[str]:
    for sign, findings in (("-", changes.gone), ("+", changes.found)):
        for _, finding in findings:
            yield f"  {sign} {'warning: ' if finding.warning else ''}{line_of(finding)}"


# --- data --------------------------------------------------------------------------------------------------------


def changes_data(changes: Changes) -> dict[str, Any]:
    """What ``audit --diff --json`` prints."""
    return {
        "version": VERSION,
        "old": changes.old,
        "new": changes.new,
        "different": changes.different,
        "values": [_change_data(change) for change in changes.values],
        "members": [
            {
                "member": change.name,
                "old_member": change.old,
                "new_member": change.new,
                "old_size": change.old_size,
                "new_size": change.new_size,
            }
            for change in changes.members
        ],
        "native": [
            {
                "member": native.member,
                "values": [_change_data(change) for change in native.values],
                "versions_added": _versions_data(native.added),
                "versions_removed": _versions_data(native.removed),
            }
            for native in changes.native
        ],
        "findings_added": [finding_data(finding, look.verdict) for look, finding in changes.found],
        "findings_removed": [finding_data(finding, look.verdict) for look, finding in changes.gone],
    }


def _change_data(change: Change) -> dict[str, Any]:
    return {"what": change.what, "old": change.old, "new": change.new}


def _versions_data(versions: Mapping[str, Collection[str]]) -> list[dict[str, Any]]:
    return [
        {"library": key.rpartition(": ")[0], "version": key.rpartition(": ")[2], "symbols": list(names)}
        for key, names in versions.items()
    ]


__all__ = ["Change", "Changes", "MemberChange", "NativeChange", "changes_data", "changes_text", "find_changes"]
