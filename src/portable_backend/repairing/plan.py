"""Planning a repair: facts in, grafts and edits and tags out. Pure.

The plan is judged before anything is done: the facts of the wheel as it *would* be are foretold from the edits and
given to the same judge that later reads the bytes that were really written.
"""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from ..auditing.explain import describe_blockers
from ..auditing.facts import WheelFacts, arch_of, basename, installed_path, is_script, root_of
from ..auditing.graph import Graph, entry_inside, plan_graph
from ..auditing.libraries import Closure, HostLibrary
from ..auditing.rules import LIBPYTHON
from ..auditing.verdict import JudgeOptions, Verdict, judge
from ..elf import ElfEdits, ElfFacts
from ..errors import NotCompliant, RepairError
from ..policy.policy import Policy, get_policies, get_policy
from ..targets import Libc, PlatformTag, find_platform_tag
from ..wheels import arch_of_name

if TYPE_CHECKING:
    from .packages import Package


@dataclass(frozen=True)
class RepairOptions:
    """What a user may say about a repair.

    :param target: the tag that the wheel has to satisfy; ``None`` takes the best that can be had.
    :param only_target_tag: name no tag but the target.
    :param update_tags: whether the file name and ``WHEEL`` are given the tags that are true.
    :param libs_dir: appended to the distribution's name for the directory of grafted libraries.
    :param ldpaths: directories that are searched for libraries before the system's.
    :param clear_execstack: take the wish for an executable stack out of every file.
    :param strip: remove symbol tables and debugging data from every file.
    :param compression_level: deflate level of what is written anew, 0 to 9.
    """

    target: Optional[PlatformTag] = None
    judge: JudgeOptions = field(default_factory=JudgeOptions)
    only_target_tag: bool = False
    update_tags: bool = True
    libs_dir: str = ".libs"
    ldpaths: tuple[str, ...] = ()
    clear_execstack: bool = False
    strip: bool = False
    compression_level: int = 6

    @property
    def judging(self) -> JudgeOptions:
        """How to judge, the target considered."""
        if self.target is None or self.target.libc is not Libc.MUSL:
            return self.judge
        return dataclasses.replace(self.judge, musl=self.target.version)


@dataclass(frozen=True)
class Graft:
    """A library of this machine that goes into the wheel under a name of its own.

    :param package: what the library came with, once that was looked up.
    :param licences: the licence texts of that package, by the name below ``.dist-info`` that they get.
    """

    library: HostLibrary
    member: str
    edits: ElfEdits
    package: Optional[Package] = None
    licences: Mapping[str, bytes] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class RepairPlan:
    """What a repair will do.

    :param edits: by member (by its old name, where it is moved).
    :param moved: executables among the scripts that move to where an RPATH can be relative, old name → new name.
    :param platforms: the platform tags of the result, sorted.
    :param verdict: what the result will be, if all goes as foretold.
    """

    grafts: tuple[Graft, ...]
    edits: Mapping[str, ElfEdits]
    moved: Mapping[str, str]
    platforms: tuple[str, ...]
    verdict: Verdict

    @property
    def changes_files(self) -> bool:
        """Whether any ELF file is added or edited."""
        return bool(self.grafts or self.edits)


def plan_repair(facts: WheelFacts, before: Verdict, closure: Closure, options: RepairOptions) -> RepairPlan:
    """Plan the repair of a wheel with native code.

    :param before: the verdict on the wheel as it is.
    :param closure: what it lacks, found on this machine with the shortest list of promised libraries.
    :raises NotCompliant: if no repair can make it satisfy the target.
    :raises RepairError: if a library that has to be grafted is nowhere to be found.
    """
    assert before.arch is not None
    assert before.libc is not None
    policies = _policies(before, options.target)
    first: Optional[RepairPlan] = None
    lacking: Optional[RepairError] = None
    for policy in policies:
        try:
            plan = _plan_for(policy, facts, closure, options, before.libc)
        except RepairError as error:
            lacking = lacking or error
            continue
        if plan.verdict.satisfies(policy.tag):
            return plan
        if options.target is None and policy is policies[-1] and plan.verdict.policy is not None:
            return plan  # newer than every published policy, and a tag of PEP 600 all the same
        first = first or plan
    if lacking is not None:
        raise lacking
    assert first is not None
    goal = f"{options.target}" if options.target else f"any policy for {before.arch.value}"
    raise NotCompliant(
        f"{facts.name} cannot be made to satisfy {goal}:\n{describe_blockers(first.verdict, options.target)}"
    )


def plan_pure(facts: WheelFacts, before: Verdict, options: RepairOptions, libc: Libc) -> RepairPlan:
    """Plan for a wheel that bears platform tags and has no native code: any policy is true, so the target's will do.

    It is not made a wheel for any platform: the author tagged it, and it may hold what only this one can use.
    """
    arch = arch_of_name(facts.name)
    target = options.target or get_policies(libc, arch)[0].tag
    linux = any(name.startswith("linux_") for name in facts.name.platforms)
    platforms = target.names if linux and options.update_tags else facts.name.platforms
    return RepairPlan((), {}, {}, tuple(platforms), before)


def _policies(before: Verdict, target: Optional[PlatformTag]) -> Sequence[Policy]:
    assert before.arch is not None
    assert before.libc is not None
    if target is None:
        known = list(get_policies(before.libc, before.arch))
        if not known:
            raise NotCompliant(f"there is no {before.libc.family} policy for {before.arch.value}")
        return known
    if (target.libc, target.arch) != (before.libc, before.arch):
        raise NotCompliant(f"the wheel is for {before.libc.value} on {before.arch.value}; the target is {target}")
    return [get_policy(target)]


def _plan_for(policy: Policy, facts: WheelFacts, closure: Closure, options: RepairOptions, libc: Libc) -> RepairPlan:
    planner = _Planner(policy, facts, plan_graph(facts.elves), closure, options)
    grafts = planner.grafts()
    edits = {member: edit for member in sorted(facts.elves) if (edit := planner.edits(member))}
    moved = dict(planner.moved)
    future = _foretell(facts, grafts, edits, moved)
    verdict = judge(future, options.judging, libc)
    return RepairPlan(tuple(grafts), edits, moved, _platforms(facts, verdict, options), verdict)


class _Planner:
    """The repair of one wheel under one policy; remembers which libraries are grafted."""

    def __init__(
        self, policy: Policy, facts: WheelFacts, graph: Graph, closure: Closure, options: RepairOptions
    ) -> None:
        self._policy = policy
        self._facts = facts
        self._graph = graph
        self._closure = closure
        self._options = options
        self._directory = f"{facts.name.name}{options.libs_dir}"
        self.moved: dict[str, str] = {}

    def needs_graft(self, name: str) -> bool:
        """Whether a name that the wheel does not satisfy has to come from this machine."""
        return not (
            name in self._policy.libraries
            or self._options.judging.excluded(name)
            or LIBPYTHON.fullmatch(name)
            or name.startswith(("libc.musl-", "ld-musl-"))
            or (self._policy.tag.libc is Libc.MUSL and name == "libc.so")
        )

    def grafts(self) -> list[Graft]:
        """The libraries to graft: those that members lack, and those that they need in turn."""
        paths: dict[Path, None] = {}
        queue = [self._path(member, name) for member in sorted(self._facts.elves) for name in self._lacks(member)]
        while queue:
            path = queue.pop(0)
            if path in paths:
                continue
            paths[path] = None
            owner = self._closure.libraries[path]
            queue += [self._path(str(path), name) for name in owner.facts.needed if self.needs_graft(name)]
        grafts: dict[str, Graft] = {}
        for path in sorted(paths):  # copies of one library in several places are grafted once
            graft = self._graft(self._closure.libraries[path])
            twin = grafts.setdefault(graft.member, graft)
            if twin.edits != graft.edits:
                message = f"{path} and {twin.library.path} are the same file and find different libraries"
                raise RepairError(message, "remove one of the two, or exclude what they need")
        return list(grafts.values())

    def edits(self, member: str) -> ElfEdits:
        """What has to change in a file of the wheel."""
        facts = self._facts.elves[member]
        if not self._ours(member):
            return ElfEdits()
        lacks = self._lacks(member)
        replaced = [(name, self._new_name(self._closure.libraries[self._path(member, name)])) for name in lacks]
        directories = [self._directory] if lacks else []
        for name in self._graph.unresolved[member]:
            inside = self._inside(member, name)
            if inside is not None:
                directories.append(posixpath.dirname(installed_path(inside)) or ".")
        if self._policy.tag.libc is Libc.MUSL and "libc.so" in self._graph.unresolved[member]:
            replaced.append(("libc.so", self._musl_soname()))
        if is_script(member) and any(root_of(directory) == "" for directory in directories):
            self.moved[member] = f"{self._facts.name.name}.scripts/{basename(member)}"
        home = self.moved.get(member, member)
        self._check_reach(member, home, directories)
        return ElfEdits(
            replace_needed=tuple(replaced),
            remove_needed=self._libpython(member),
            rpath=_new_rpath(facts, home, directories),
            clear_execstack=self._options.clear_execstack and facts.executable_stack,
        )

    def _lacks(self, member: str) -> list[str]:
        return [
            name
            for name in self._graph.unresolved[member]
            if self._ours(member) and self.needs_graft(name) and self._inside(member, name) is None
        ]

    def _ours(self, member: str) -> bool:
        """Whether a file is for the wheel's architecture; others are data."""
        return arch_of(self._facts.elves[member]) is self._policy.tag.arch

    def _inside(self, member: str, name: str) -> Optional[str]:
        """A file of the wheel that would satisfy a name if only an rpath led there; the nearest of several."""
        if not self.needs_graft(name):
            return None
        facts = self._facts.elves
        found = [
            other
            for other in sorted(facts)
            if basename(other) == name
            and root_of(installed_path(other)) in ("", root_of(installed_path(member)))
            and (facts[other].machine, facts[other].bits) == (facts[member].machine, facts[member].bits)
        ]
        here = posixpath.dirname(installed_path(member))
        return min(found, key=lambda other: len(posixpath.relpath(installed_path(other), here or ".")), default=None)

    def _libpython(self, member: str) -> tuple[str, ...]:
        """The names of libpython that a file can do without, since an interpreter will load it."""
        if self._facts.elves[member].interpreter is not None:
            return ()
        return tuple(name for name in self._graph.unresolved[member] if LIBPYTHON.fullmatch(name))

    def _check_reach(self, member: str, home: str, directories: Sequence[str]) -> None:
        """See that an RPATH can lead from where a file will be to where its libraries will be."""
        for directory in directories:
            if root_of(directory) != root_of(installed_path(home)):
                message = f"{member}: is installed where no relative path leads to its libraries in {directory}"
                raise RepairError(message, "install it, and the libraries of the wheel, inside of the package")

    def _path(self, owner: str, name: str) -> Path:
        path = self._closure.links.get((owner, name))
        if path is None:
            raise RepairError(
                f"{owner} needs {name}, which is not on this machine",
                f"install it, say where it is with --ldpaths (ldpaths), or leave it out (exclude): --exclude {name}",
            )
        return path

    def _new_name(self, library: HostLibrary) -> str:
        """The file's name with the beginning of its digest, so that no other copy of it is taken for it."""
        base, dot, rest = library.path.name.partition(".")
        mark = f"-{library.digest[:8]}"
        return library.path.name if base.endswith(mark) else f"{base}{mark}{dot}{rest}"

    def _graft(self, library: HostLibrary) -> Graft:
        replaced = []
        for name in library.facts.needed:
            if self.needs_graft(name):
                replaced.append((name, self._new_name(self._closure.libraries[self._path(str(library.path), name)])))
        edits = ElfEdits(
            soname=self._new_name(library),
            replace_needed=tuple(replaced),
            remove_needed=tuple(name for name in library.facts.needed if LIBPYTHON.fullmatch(name)),
            rpath="$ORIGIN" if replaced else "",
            clear_execstack=self._options.clear_execstack and library.facts.executable_stack,
        )
        return Graft(library, f"{self._directory}/{self._new_name(library)}", edits)

    def _musl_soname(self) -> str:
        return next(name for name in sorted(self._policy.libraries) if name.startswith("libc.musl-"))


def _new_rpath(facts: ElfFacts, home: str, directories: Sequence[str]) -> Optional[str]:
    """The entries that stay inside ``site-packages``, and those to ``directories``; ``None`` for no change."""
    old = facts.runpath if facts.runpath is not None else facts.rpath
    kept = [entry for entry in (old or "").split(":") if entry_inside(entry, home) is not None]
    known = {entry_inside(entry, home) for entry in kept}
    here = posixpath.dirname(installed_path(home)) or "."
    for directory in dict.fromkeys(directories):
        if directory not in known:
            relative = posixpath.relpath(directory, here)
            kept.append("$ORIGIN" if relative == "." else f"$ORIGIN/{relative}")
    new = ":".join(dict.fromkeys(kept))
    return None if new == (old or "") else new


def _foretell(
    facts: WheelFacts, grafts: Sequence[Graft], edits: Mapping[str, ElfEdits], moved: Mapping[str, str]
) -> WheelFacts:
    elves = {
        moved.get(member, member): edits[member].foretell(each) if member in edits else each
        for member, each in facts.elves.items()
    }
    for graft in grafts:
        elves[graft.member] = graft.edits.foretell(graft.library.facts)
    # RECORD is written anew; symbolic links that lead nowhere become what installers make of them anyway.
    return dataclasses.replace(facts, elves=elves, record_lies=())


def _platforms(facts: WheelFacts, verdict: Verdict, options: RepairOptions) -> tuple[str, ...]:
    """All true names: the verdict's, the target's, and what the wheel claimed already and rightly."""
    if not options.update_tags:
        return facts.name.platforms
    if options.only_target_tag and options.target is not None:
        return options.target.names
    names = set(verdict.policy.names) if verdict.policy else set()
    if options.target is not None and verdict.satisfies(options.target):
        names |= set(options.target.names)
    for claim in facts.name.platforms:
        tag = find_platform_tag(claim)
        if tag is not None and verdict.satisfies(tag):
            names |= {claim}
    return tuple(sorted(names)) or facts.name.platforms
