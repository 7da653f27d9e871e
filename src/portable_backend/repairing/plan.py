"""Planning a repair: facts in, grafts and edits and tags out. Pure.

The plan is judged before anything is done: the facts of the wheel as it *would* be are foretold from the edits and
given to the same judge that later reads the bytes that were really written.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from contextlib import suppress
from types import MappingProxyType

from ..auditing.explain import describe_blockers
from ..auditing.facts import WheelFacts, arch_of, basename, installed_path, is_script, root_of
from ..auditing.graph import Graph, entry_inside, find_inside, index_names, partition
from ..auditing.rules import LIBPYTHON
from ..auditing.verdict import JudgeOptions, Known, Verdict, judge
from ..elf import ElfEdits, ElfFacts
from ..errors import NotCompliant, RepairError, one_line
from ..policy.policy import C_LIBRARY, GLIBC_LIBRARIES, Policy, get_policies, get_policy
from ..records import NamedTuple
from ..targets import Libc, PlatformTag, find_platform_tag
from ..wheels import arch_of_name
from ..wheels.hashing import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Optional

    from ..auditing.libraries import Closure, HostLibrary
    from .packages import Package


class RepairOptions(NamedTuple):
    """What a user may say about a repair.

    :param target: the tag that the wheel has to satisfy; ``None`` takes the best that can be had.
    :param only_target_tag: name no tag but the target.
    :param update_tags: whether the file name and ``WHEEL`` are given the tags that are true.
    :param libs_dir: appended to the distribution's name for the directory of grafted libraries.
    :param ldpaths: directories that are searched for libraries before the system's.
    :param graft: patterns (as of a shell) of sonames to graft although the machine of every user has them.
    :param clear_execstack: take the wish for an executable stack out of every file.
    :param strip: remove symbol tables and debugging data from every file.
    :param compression_level: deflate level of what is written anew, 0 to 9.
    """

    target: Optional[PlatformTag] = None
    judge: JudgeOptions = JudgeOptions()
    only_target_tag: bool = False
    update_tags: bool = True
    libs_dir: str = ".libs"
    ldpaths: tuple[str, ...] = ()
    graft: tuple[str, ...] = ()
    clear_execstack: bool = False
    strip: bool = False
    compression_level: int = 6

    def wants(self, name: str, promised: frozenset[str], libc: Libc) -> bool:
        """Whether a library that the wheel does not have must come along.

        :param promised: the libraries that the machine of every user has.
        """
        if self.judging.excluded(name) or LIBPYTHON.fullmatch(name) or name.startswith(("libc.musl-", "ld-musl-")):
            return False
        if libc is Libc.MUSL and name == "libc.so":
            return False
        asked = any(fnmatch.fnmatchcase(name, pattern) for pattern in self.graft)
        return name not in promised or (asked and not C_LIBRARY.fullmatch(name))

    @property
    def judging(self) -> JudgeOptions:
        """How to judge, the target considered."""
        if self.target is None:
            return self.judge
        if self.target.libc is Libc.MUSL:
            return self.judge._replace(musl=self.target.version)
        return self.judge._replace(glibc=self.target.version)


class Graft(NamedTuple):
    """A library of this machine that goes into the wheel under a name of its own.

    :param package: what the library came with, once that was looked up.
    :param licences: the licence texts of that package, by the name below ``.dist-info`` that they get.
    """

    library: HostLibrary
    member: str
    edits: ElfEdits
    package: Optional[Package] = None
    licences: Mapping[str, bytes] = MappingProxyType({})


class RepairPlan(NamedTuple):
    """What a repair will do.

    :param edits: by member (by its old name, where it is moved).
    :param moved: executables among the scripts that move to where an RPATH can be relative, old name → new name.
    :param platforms: the platform tags of the result, sorted.
    :param verdict: what the result will be, if all goes as foretold.
    :param notes: what deserves a word.
    """

    grafts: tuple[Graft, ...]
    edits: Mapping[str, ElfEdits]
    moved: Mapping[str, str]
    platforms: tuple[str, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()

    @property
    def changes_files(self) -> bool:
        """Whether any ELF file is added or edited."""
        return bool(self.grafts or self.edits)


def plan_repair(
    facts: WheelFacts, before: Verdict, closure: Closure, options: RepairOptions, known: Optional[Known] = None
) -> RepairPlan:
    """Plan the repair of a wheel with native code.

    :param before: the verdict on the wheel as it is.
    :param closure: what it lacks, found on this machine with the shortest list of promised libraries.
    :param known: what is known of its files.
    :raises NotCompliant: if no repair can make it satisfy the target.
    :raises RepairError: if a library that has to be grafted is nowhere to be found.
    """
    assert before.arch is not None
    assert before.libc is not None
    known = known or Known()
    policies = _policies(facts, before, closure, options, known)
    first: Optional[RepairPlan] = None
    lacking: Optional[RepairError] = None
    for policy in policies:
        try:
            plan = _plan_for(policy, facts, closure, options, before.libc, known)
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


def _incurable(before: Verdict, grafts: Iterable[ElfFacts]) -> tuple[int, int]:
    """The oldest glibc that a repair can reach: its own libraries are never grafted, so what is asked of them stays.

    :param grafts: what is grafted whatever the policy.
    """
    ceilings = [
        finding.ceiling.version
        for finding in before.findings
        if finding.kind == "symbol-version" and finding.library in GLIBC_LIBRARIES and finding.ceiling is not None
    ]
    needs = (need for facts in grafts for need in facts.version_needs if need.library in GLIBC_LIBRARIES)
    matches = (_GLIBC_VERSION.fullmatch(version) for need in needs for version in need.versions)
    ceilings += [(int(match[1]), int(match[2])) for match in matches if match]
    return max(ceilings, default=(0, 0)) if before.libc is Libc.GLIBC else (0, 0)


_GLIBC_VERSION = re.compile(r"GLIBC_([0-9]{1,4})\.([0-9]{1,4})(?:\..*)?")


def _policies(
    facts: WheelFacts, before: Verdict, closure: Closure, options: RepairOptions, known_files: Known
) -> Sequence[Policy]:
    """Those to be tried, the most portable first: the target's, or all that may turn out to be true."""
    assert before.arch is not None
    assert before.libc is not None
    target = options.target
    if target is None:
        known = list(get_policies(before.libc, before.arch))
        if not known:
            raise NotCompliant(f"there is no {before.libc.family} policy for {before.arch.value}")
        # The newest promises most, so what has to be grafted for it has to be for every one.
        always: Iterable[HostLibrary] = ()
        with suppress(RepairError):  # each policy's own plan will tell
            always = _planner(known[-1], facts, closure, options, known_files).libraries
        floor = _incurable(before, (library.facts for library in always))
        return [policy for policy in known if policy.tag.version >= floor] or known[-1:]
    if (target.libc, target.arch) != (before.libc, before.arch):
        raise NotCompliant(f"the wheel is for {before.libc.value} on {before.arch.value}; the target is {target}")
    return [get_policy(target)]


def _plan_for(
    policy: Policy, facts: WheelFacts, closure: Closure, options: RepairOptions, libc: Libc, known: Known
) -> RepairPlan:
    planner = _planner(policy, facts, closure, options, known)
    grafts = planner.grafts()
    edits = {member: edit for member in sorted(facts.elves) if (edit := planner.edits(member))}
    moved = dict(planner.moved)
    future = _foretell(facts, grafts, edits, moved)
    verdict = judge(future, options.judging, libc, known)
    notes = (*closure.notes, *map(_double_note, planner.graph.doubles))
    return RepairPlan(tuple(grafts), edits, moved, _platforms(facts, verdict, options), verdict, notes)


def _double_note(double: tuple[str, str, str]) -> str:
    name, first, second = double
    return f"{name} is in the wheel twice: whoever needs it gets {first}, loaded first, and not {second}"


def _planner(policy: Policy, facts: WheelFacts, closure: Closure, options: RepairOptions, known: Known) -> _Planner:
    return _Planner(policy, facts, known.graph(facts.elves, policy.tag.libc), closure, options)


class _Planner:
    """The repair of one wheel under one policy.

    Libraries have the names of the closure until their new ones are chosen.
    """

    def __init__(
        self, policy: Policy, facts: WheelFacts, graph: Graph, closure: Closure, options: RepairOptions
    ) -> None:
        self._policy = policy
        self._facts = facts
        self.graph = graph
        self._index = index_names(facts.elves)
        self._closure = closure
        self._options = options
        self._directory = f"{facts.name.name}{options.libs_dir}"
        self.moved: dict[str, str] = {}
        self._new_names = self._choose_names(self._chosen())

    @property
    def libraries(self) -> Iterable[HostLibrary]:
        """Those of this machine that are to be grafted."""
        return [self._closure.libraries[name] for name in self._new_names]

    def needs_graft(self, name: str) -> bool:
        """Whether a name that the wheel does not satisfy has to come from this machine."""
        return self._options.wants(name, self._policy.libraries, self._policy.tag.libc)

    def _chosen(self) -> dict[str, dict[str, str]]:
        """The libraries to graft, those that members lack and those that they need in turn, each with its links."""
        chosen: dict[str, dict[str, str]] = {}
        lacks = [(member, name) for member in sorted(self._facts.elves) for name in self._lacks(member)]
        queue = [self._link(*each) for each in lacks]
        queue += [library for each in lacks for library in self._closure.conflicts.get(each, ())]
        while queue:
            library = queue.pop()
            if library in chosen or library not in self._closure.libraries:
                continue
            needed = self._closure.libraries[library].facts.needed
            chosen[library] = {name: self._link(library, name) for name in needed if self.needs_graft(name)}
            queue += chosen[library].values()
        return dict(sorted(chosen.items()))

    def _choose_names(self, chosen: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
        """New file names. Copies of one library are one graft, unless they are linked with different ones."""
        kinds = {library: self._plain_name(library) for library in chosen}
        classes = partition(kinds, chosen)
        ordinals: dict[str, list[int]] = {}
        names = {}
        for library, number in classes.items():
            known = ordinals.setdefault(kinds[library], [])
            if number not in known:
                known.append(number)
            names[library] = self._plain_name(library, known.index(number))
        return names

    def _plain_name(self, library: str, ordinal: int = 0) -> str:
        """The file's name with the beginning of its digest, so that no other copy of it is taken for it."""
        host = self._closure.libraries[library]
        digest = host.digest if ordinal == 0 else sha256(f"{host.digest} {ordinal}".encode()).hexdigest()
        base, dot, rest = host.path.name.partition(".")
        mark = f"-{digest[:8]}"
        return host.path.name if base.endswith(mark) else f"{base}{mark}{dot}{rest}"

    def grafts(self) -> list[Graft]:
        """The libraries to graft, each file once."""
        grafts: dict[str, Graft] = {}
        for library, name in self._new_names.items():
            grafts.setdefault(name, self._graft(library))
        return list(grafts.values())

    def edits(self, member: str) -> ElfEdits:
        """What has to change in a file of the wheel."""
        facts = self._facts.elves[member]
        if not self._ours(member):
            return ElfEdits()
        lacks = self._lacks(member)
        replaced = [(name, self._new_name(member, name)) for name in lacks]
        directories = [self._directory] if lacks else []
        for name in self.graph.unresolved[member]:
            inside = self._inside(member, name)
            if inside is not None:
                directories.append(posixpath.dirname(installed_path(inside)) or ".")
                replaced += [(name, basename(inside))] if basename(inside) != name else []
        if self._policy.tag.libc is Libc.MUSL and "libc.so" in self.graph.unresolved[member]:
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
            for name in self.graph.unresolved[member]
            if self._ours(member) and self.needs_graft(name) and self._inside(member, name) is None
        ]

    def _ours(self, member: str) -> bool:
        """Whether a file is for the wheel's architecture; others are data."""
        return arch_of(self._facts.elves[member]) is self._policy.tag.arch

    def _inside(self, member: str, name: str) -> Optional[str]:
        """A file of the wheel that would satisfy a name if only an rpath led there."""
        return find_inside(member, name, self._facts.elves, self._index) if self.needs_graft(name) else None

    def _libpython(self, member: str) -> tuple[str, ...]:
        """The names of libpython that a file can do without, since an interpreter will load it."""
        if self._facts.elves[member].interpreter is not None:
            return ()
        return tuple(name for name in self.graph.unresolved[member] if LIBPYTHON.fullmatch(name))

    def _check_reach(self, member: str, home: str, directories: Sequence[str]) -> None:
        """See that an RPATH can lead from where a file will be to where its libraries will be."""
        for directory in directories:
            if root_of(directory) != root_of(installed_path(home)):
                message = f"{member}: is installed where no relative path leads to its libraries in {directory}"
                raise RepairError(message, "install it, and the libraries of the wheel, inside of the package")

    def _link(self, owner: str, name: str) -> str:
        """What satisfies a name: a library of the closure or, for one of these, a member."""
        link = self._closure.links.get((owner, name))
        if link is None or (link in self._facts.elves and owner in self._facts.elves):
            name = one_line(name)
            raise RepairError(
                f"{one_line(owner)} needs {name}, which is not on this machine",
                f"install it, say where it is with --ldpaths (ldpaths), or leave it out (exclude): --exclude {name}",
            )
        return link

    def _new_name(self, member: str, name: str) -> str:
        """The new name of what a member lacks, which must be the same whoever loads the member."""
        several = self._closure.conflicts.get((member, name), ())
        if len({self._new_names.get(each, each) for each in several}) > 1:
            names = " or ".join(several)
            message = one_line(f"{member} needs {name}, which is {names}, depending on who loads it")
            raise RepairError(message, f"give {member} an rpath of its own that leads to the right one")
        return self._new_names[self._link(member, name)]

    def _graft(self, library: str) -> Graft:
        host = self._closure.libraries[library]
        links = {name: self._link(library, name) for name in host.facts.needed if self.needs_graft(name)}
        new = {name: self._new_names.get(link, basename(link)) for name, link in links.items()}
        places = [
            self._directory if link in self._new_names else posixpath.dirname(installed_path(link)) or "."
            for link in links.values()
        ]
        rpath = [posixpath.relpath(place, self._directory) for place in dict.fromkeys(places)]
        edits = ElfEdits(
            soname=self._new_names[library],
            replace_needed=tuple((old, name) for old, name in new.items() if old != name),
            remove_needed=tuple(name for name in host.facts.needed if LIBPYTHON.fullmatch(name)),
            rpath=":".join("$ORIGIN" if place == "." else f"$ORIGIN/{place}" for place in rpath),
            clear_execstack=self._options.clear_execstack and host.facts.executable_stack,
        )
        return Graft(host, f"{self._directory}/{self._new_names[library]}", edits)

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
    return facts._replace(elves=elves, record_lies=())


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
