"""What changed between two wheels: tags, policy, members, native files, findings. Pure.

Members are compared by their content, not by how it is compressed; native files by what the loader reads of them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Optional

from ..auditing.closer import Closer
from ..auditing.explain import line_of
from ..auditing.finding import Finding
from ..elf import ElfFacts, group_names
from ..errors import printable
from .data import VERSION, finding_data

_FEW = 12


class Change(NamedTuple):
    """One value that is another in the new wheel. ``None`` stands for one that is not there."""

    what: str
    old: Any
    new: Any


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
    :param members: of each member that is new, gone or other: its size before and after.
    """

    old: str
    new: str
    values: tuple[Change, ...]
    members: tuple[Change, ...]
    native: tuple[NativeChange, ...]
    found: tuple[tuple[Closer, Finding], ...]
    gone: tuple[tuple[Closer, Finding], ...]

    @property
    def different(self) -> bool:
        """Whether anything differs. Two names for the same content are no difference; other tags are."""
        return any((self.values, self.members, self.native, self.found, self.gone))


def find_changes(old: Closer, new: Closer) -> Changes:
    """Compare two wheels."""
    return Changes(
        old.name,
        new.name,
        tuple(_values(old, new)),
        tuple(_members(old, new)),
        tuple(_native(old, new)),
        tuple((new, finding) for finding in _less(new.verdict.findings, old.verdict.findings)),
        tuple((old, finding) for finding in _less(old.verdict.findings, new.verdict.findings)),
    )


def _less(some: Iterable[Finding], others: Iterable[Finding]) -> list[Finding]:
    known = set(others)
    return [finding for finding in some if finding not in known]


def _values(old: Closer, new: Closer) -> Iterator[Change]:
    parts: tuple[tuple[str, Callable[[Closer], Any]], ...] = (
        ("project", lambda look: look.facts.name.name),
        ("version", lambda look: look.facts.name.version),
        ("python tags", lambda look: list(look.facts.name.python)),
        ("abi tags", lambda look: list(look.facts.name.abi)),
        ("platform tags", lambda look: list(look.facts.name.platforms)),
        ("policy", lambda look: look.verdict.policy_name),
        ("compliant", lambda look: look.verdict.compliant),
        ("external libraries", lambda look: list(look.verdict.external_libraries)),
    )
    for what, value in parts:
        if value(old) != value(new):
            yield Change(what, value(old), value(new))


def _members(old: Closer, new: Closer) -> Iterator[Change]:
    for member in sorted({*old.sizes, *new.sizes}):
        before, after = old.sizes.get(member), new.sizes.get(member)
        same = old.facts.digests.get(member) == new.facts.digests.get(member)
        if before is None or after is None or before.full != after.full or not same:
            yield Change(member, before and before.full, after and after.full)


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


def _native(old: Closer, new: Closer) -> Iterator[NativeChange]:
    for member in sorted({*old.facts.elves, *new.facts.elves}):
        before, after = old.facts.elves.get(member), new.facts.elves.get(member)
        if before is None or after is None or old.facts.digests.get(member) != new.facts.digests.get(member):
            values = _native_values(before, after)
            had, has = _versions(before), _versions(after)
            added = {key: has[key] for key in sorted(has.keys() - had.keys())}
            removed = {key: had[key] for key in sorted(had.keys() - has.keys())}
            if values or added or removed:
                yield NativeChange(member, values, added, removed)


def _native_values(before: Optional[ElfFacts], after: Optional[ElfFacts]) -> tuple[Change, ...]:
    if before is None or after is None:  # of a new file, its versions tell enough
        return ()
    return tuple(Change(what, value(before), value(after)) for what, value in _NATIVE if value(before) != value(after))


def _versions(facts: Optional[ElfFacts]) -> dict[str, tuple[str, ...]]:
    if facts is None:
        return {}
    users = group_names(facts.imports)
    return {
        f"{need.library}: {version}": tuple(users.get((need.library, version), ())[:_FEW])
        for need in facts.version_needs
        for version in need.versions
    }


# --- text --------------------------------------------------------------------------------------------------------


def changes_text(changes: Changes, verbose: bool = False) -> str:
    """What changed, a line each: ``-`` for what was, ``+`` for what is, ``~`` for what is another.

    :param verbose: every member, not the first few.
    """
    if not changes.different:
        return printable(f"{changes.old} and {changes.new}: nothing differs")
    lines = [f"{changes.old} → {changes.new}"]
    lines += [f"  ~ {change.what}: {_said(change.old)} → {_said(change.new)}" for change in changes.values]
    lines += _section("files:", [_member_line(change) for change in changes.members], verbose)
    for native in changes.native:
        lines += _section(f"{native.member}:", list(_native_lines(native)), verbose)
    lines += _section("findings:", list(_finding_lines(changes)), verbose)
    return "\n".join(map(printable, lines))


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


def _member_line(change: Change) -> str:
    if change.old is None:
        return f"  + {change.what} ({change.new} bytes)"
    if change.new is None:
        return f"  - {change.what} ({change.old} bytes)"
    return f"  ~ {change.what} ({change.old} → {change.new} bytes, {change.new - change.old:+})"


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
            yield f"  {sign} {version}" + (f" ({', '.join(names)})" if names else "")


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
            {"member": change.what, "old_size": change.old, "new_size": change.new} for change in changes.members
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


__all__ = ["Change", "Changes", "NativeChange", "changes_data", "changes_text", "find_changes"]
