"""Carrying a repair plan out: edit what has to change, write the wheel anew, judge the bytes, show them.

The input is never modified. The result appears under its name only after the very bytes of it were judged.
"""

from __future__ import annotations

import functools
import mmap
import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .. import elf
from ..auditing.explain import describe, describe_blockers
from ..auditing.facts import WheelFacts, arch_of, read_wheel_facts
from ..auditing.read import require_linux
from ..auditing.verdict import Known, Verdict, judge
from ..elf import ElfEdits
from ..errors import EditRefused, ElfError, NotCompliant, OutputError, RepairError, WheelError
from ..policy.policy import get_policies
from ..records import NamedTuple
from ..targets import Libc
from ..wheels import RawMember, Wheel, open_wheel
from ..wheels.deflating import find_compressor
from ..wheels.hashing import sha256
from ..wheels.reading import compare_members
from ..wheels.writing import Deferred, NewMember, Patched, canonical_order, write_archive, writing
from .plan import Graft, RepairOptions, RepairPlan, plan_pure, plan_repair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO, Optional

    from ..auditing.libraries import Closure
    from .inner_sboms import Source

    Progress = Callable[[str], None]

# Findings about the archive itself, which a repair would only hide.
_REFUSED = ("record", "purelib", "malformed-elf")

# Signatures of RECORD (PEP 427) sign the bytes that a repair replaces.
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")


class RepairedWheel(NamedTuple):
    """The result of a repair.

    :param path: of the wheel that was written.
    :param before: the verdict on the input.
    :param after: the verdict on the bytes at ``path``.
    :param plan: what was done; ``None`` for a wheel without native code, which is copied as it is.
    :param compressor: what deflated the members that are new: ``libdeflate``, whose bytes are the same everywhere, or
        ``zlib``; ``None`` where nothing was deflated.
    """

    path: Path
    before: Verdict
    after: Verdict
    plan: Optional[RepairPlan]
    compressor: Optional[str] = None


def repair_wheel(
    path: Path,
    directory: Path,
    options: RepairOptions,
    progress: Progress = lambda line: None,
    default_libc: Optional[Libc] = None,
    threads: Optional[int] = None,
    source: Optional[Source] = None,
) -> RepairedWheel:
    """Repair the wheel at ``path`` into ``directory``.

    :param threads: how many compress at once, as many as can run where that is ``None``; the result is the same.
    :param source: of a wheel that was built here just now: its own bills of materials shall not tell where and when.
    :raises WheelError: if the input is malformed, or its RECORD is not true of it.
    :raises RepairError: if a library cannot be found or a file cannot be edited.
    :raises NotCompliant: if the target cannot be reached, with the reasons.
    :raises OutputError: if the result cannot be written.
    """
    require_linux(path.name)
    with open_wheel(path) as wheel:
        state = _state(wheel)
        facts = read_wheel_facts(wheel)
        known = Known()
        before = judge(facts, options.judging, default_libc, known)
        refused = [each for each in before.findings if each.kind in _REFUSED and not each.warning]
        if refused:
            raise WheelError(f"{path.name} cannot be repaired:\n{describe(refused)}")
        if before.pure and facts.name.platforms == ("any",):
            return _copy(path, directory, before)
        if before.pure:
            progress("there is no native code in this wheel although its tag names a platform; was a part not built?")
            plan = plan_pure(facts, before, options, default_libc or Libc.GLIBC)
        else:
            copied = facts.with_links_copied()
            verdict = before if copied is facts else judge(copied, options.judging, default_libc, known)
            plan = plan_repair(copied, verdict, _find_closure(copied, verdict, options), options, known)
            if plan.grafts:
                from .sbom import with_packages

                plan = with_packages(plan)
        for line in _story(plan, facts):
            progress(line)
        compressor = find_compressor()
        if options.compression_level and not compressor.portable:
            progress("deflate is not installed: zlib compresses, and another machine's may give other bytes")
        destination = directory / str(facts.name.with_platforms(plan.platforms))
        members = canonical_order(list(_members(wheel, facts, plan, options, source)), wheel.dist_info)
        with writing(destination) as file:
            write_archive(
                file,
                members,
                _timestamp(),
                options.compression_level,
                record_in=wheel.dist_info,
                threads=threads,
                compressor=compressor,
            )
            after = _judge_again(file, destination, members, facts, options, default_libc, known)
            if _state(wheel) != state:
                raise WheelError(f"{path.name} was changed while it was repaired", "repair it again")
            _accept(destination.name, after, options)
            _refuse_replacement(file, destination, path)
        return RepairedWheel(destination, before, after, plan, compressor.name if options.compression_level else None)


def _refuse_replacement(file: IO[bytes], destination: Path, source: Path) -> None:
    """The input is never modified: its name can be that of the result only where the bytes are the same."""
    if destination.exists() and destination.samefile(source) and not _same_bytes(file, source):
        what = f"{destination}: the result has the name of its own input, which is never changed"
        raise OutputError(what, "name another output directory")


def _state(wheel: Wheel) -> tuple[int, int, int]:
    """What is different after the file of a wheel was written to."""
    found = os.fstat(wheel.raw(wheel.members[0]).file.fileno())
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _judge_again(
    file: IO[bytes],
    destination: Path,
    members: Sequence[NewMember],
    facts: WheelFacts,
    options: RepairOptions,
    default_libc: Optional[Libc],
    known: Known,
) -> Verdict:
    """Judge what was written, as it is read back.

    What is found, byte for byte, to be a member of the input is known already and is not inflated again.
    """
    file.flush()
    with open_wheel(destination, file) as written:
        copies = [
            (member.name, member.content, written.raw(member.name))
            for member in members
            if isinstance(member.content, RawMember)
            and member.name not in facts.links_inside  # there the bytes of another member are
        ]
        told = compare_members([(mine, yours) for _, mine, yours in copies])
        same = {name for (name, _, _), alike in zip(copies, told) if alike}
        return judge(read_wheel_facts(written, facts, same), options.judging, default_libc, known)


def copy_wheel(path: Path, directory: Path) -> Path:
    """Copy a wheel byte for byte, whole or not at all."""
    import shutil

    destination = directory / path.name
    if destination.exists() and destination.samefile(path):
        return destination
    with path.open("rb") as source, writing(destination) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    return destination


def _copy(path: Path, directory: Path, verdict: Verdict) -> RepairedWheel:
    return RepairedWheel(copy_wheel(path, directory), verdict, verdict, None)


def _find_closure(facts: WheelFacts, before: Verdict, options: RepairOptions) -> Closure:
    """Find libraries by the shortest list of promised ones, so that every policy's plan can be made from the result."""
    from ..auditing.libraries import Closure, LibraryFinder, find_closure

    assert before.arch is not None
    assert before.libc is not None
    if not options.graft and all(finding.kind != "external-library" for finding in before.findings):
        return Closure({}, {})
    policies = get_policies(before.libc, before.arch)
    promised = frozenset.intersection(*(policy.libraries for policy in policies)) if policies else frozenset()

    # The same few names are asked for by every file.
    wanted = functools.cache(functools.partial(options.wants, promised=promised, libc=before.libc))
    return find_closure(facts.elves, wanted, LibraryFinder(before.arch, before.libc, options.ldpaths))


def _story(plan: RepairPlan, facts: WheelFacts) -> Iterator[str]:
    for member, target in sorted(facts.links_inside.items()):
        yield f"{member}: a copy of {target} in place of a symbolic link to it"
    if plan.grafts:
        from .sbom import story

        yield from story(plan.grafts)
    yield from plan.notes
    for member, edits in plan.edits.items():
        for name in edits.remove_needed:
            yield f"{member}: dropping the needed entry {name}"
        if edits.clear_execstack:
            yield f"{member}: clearing the executable stack"
    for old, new in plan.moved.items():
        yield f"moving {old} to {new}, with a launcher in its place"


def _members(
    wheel: Wheel,
    facts: WheelFacts,
    plan: RepairPlan,
    options: RepairOptions,
    built_from: Optional[Source] = None,
) -> Iterator[NewMember]:
    """All members of the result except ``RECORD``. What is edited is not read before it is written."""
    metadata = f"{wheel.dist_info}/WHEEL"
    skipped = {f"{wheel.dist_info}/{name}" for name in ("RECORD", *_SIGNATURES)}
    links = facts.links_inside
    for taken in sorted(set(plan.moved.values()).intersection(wheel.members)):
        raise RepairError(f"{wheel.filename}: there is a {taken} already, in the place of an executable to be moved")
    for member in wheel.members:
        source = links.get(member, member)
        executable = bool(wheel.mode(source) & 0o111)
        edits = plan.edits.get(member, ElfEdits())
        if member in skipped:
            continue
        if member == metadata and options.update_tags:
            yield NewMember(member, _retagged(wheel, plan.platforms))
            continue
        bill = _normalised_bill(wheel, member, source, built_from)
        if bill is not None:
            yield NewMember(member, bill, executable)
            continue
        strip = options.strip and source in facts.elves and arch_of(facts.elves[source]) is plan.verdict.arch
        if edits or strip:
            make = functools.partial(_edited_member, wheel, member, source, edits, strip)
            content = Deferred(make, wheel.size(source))
            if member in plan.moved:  # installers make every script executable, but nothing elsewhere
                yield NewMember(plan.moved[member], content, True)
                yield NewMember(member, _launcher(plan.moved[member]), True)
            else:
                yield NewMember(member, content, executable)
            continue
        digest = f"{wheel.record_algorithm(source)}={facts.digests[source]}"
        yield NewMember(member, wheel.raw(source), executable, digest)
    yield from _grafted(wheel, facts, plan, options.strip)


def _normalised_bill(wheel: Wheel, member: str, source: str, built_from: Optional[Source]) -> Optional[bytes]:
    """A bill of materials of the inner backend, if this is one and the wheel was built just now."""
    if built_from is None:
        return None
    from .inner_sboms import is_bill, normalise

    return normalise(wheel.read(source), built_from) if is_bill(member, wheel.dist_info) else None


def _edited_member(wheel: Wheel, member: str, source: str, edits: ElfEdits, strip: bool) -> bytes:
    return _edited(member, wheel.read_buffer(source), edits, strip)


def _grafted(wheel: Wheel, facts: WheelFacts, plan: RepairPlan, strip: bool) -> Iterator[NewMember]:
    if not plan.grafts:
        return
    from . import sbom

    present = set(wheel.members)
    for graft in plan.grafts:
        if graft.member in present:
            raise RepairError(f"{wheel.filename}: there is a {graft.member} already")
        yield NewMember(graft.member, Deferred(functools.partial(_graft, graft, strip), _file_size(graft)), True)
    for below, content in sbom.make(facts.name.name, facts.name.version, plan.grafts).items():
        name = f"{wheel.dist_info}/{below}"
        if name in present:
            raise RepairError(
                f"{wheel.filename}: there is a {name} already, of an earlier repair", "repair the raw wheel"
            )
        yield NewMember(name, content)


def _graft(graft: Graft, strip: bool) -> Patched:
    """An edited library: the file, and what is to be written in place of some of its bytes.

    They have to be those that the plan was made for: its new name is made of them.
    """
    from ..auditing.libraries import state_of

    path, digest = graft.library.path, graft.library.digest
    with _reading(path), ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        state = state_of(os.fstat(file.fileno()))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if state != graft.library.state and sha256(content).hexdigest() != digest:
                raise _changed(path)
            with _refusing(graft.member):
                size, patches = elf.edit_mapped(content, file.fileno(), _with_strip(graft.edits, strip))

        def check() -> None:
            with _reading(path):
                if state_of(os.fstat(file.fileno())) != state:
                    raise _changed(path)

        stack.pop_all()  # the file stays open until it was read
        return Patched(file, size, patches, check)


def _file_size(graft: Graft) -> int:
    try:
        return graft.library.path.stat().st_size
    except OSError as error:
        raise RepairError(f"{graft.library.path}: {error.strerror}") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise RepairError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def _changed(path: Path) -> RepairError:
    return RepairError(f"{path} was changed while the wheel was repaired", "repair it again")


def _same_bytes(file: IO[bytes], path: Path) -> bool:
    file.seek(0)
    with path.open("rb") as other:
        while True:
            ours, theirs = file.read(1 << 20), other.read(1 << 20)
            if ours != theirs:
                return False
            if not ours:
                return True


def _accept(name: str, verdict: Verdict, options: RepairOptions) -> None:
    target = options.target
    if target is not None and not verdict.satisfies(target):
        raise NotCompliant(f"{name} does not satisfy {target}:\n{describe_blockers(verdict, target)}")
    if options.update_tags and not verdict.compliant:
        raise NotCompliant(f"{name} is not what its name claims:\n{describe(verdict.findings)}")


def _timestamp() -> int:
    """``SOURCE_DATE_EPOCH`` where it is set, else the earliest time that the format can express."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(text) if text.isascii() and text.isdigit() else 315532800


def _retagged(wheel: Wheel, platforms: Sequence[str]) -> bytes:
    """``WHEEL`` with other tags and every other line as it was."""
    lines = wheel.read_text("WHEEL").splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    tags = [f"Tag: {tag}{end}" for tag in sorted(wheel.name.with_platforms(platforms).tags)]
    at = next((number for number, line in enumerate(lines) if line.lower().startswith("tag:")), None)
    if at is None:
        raise WheelError(f"{wheel.filename}: WHEEL has no Tag")
    kept = [line for line in lines[at:] if not line.lower().startswith("tag:")]
    return "".join([*lines[:at], *tags, *kept]).encode("utf-8")


def _launcher(moved: str) -> bytes:
    """A script that runs an executable from site-packages (installers put the interpreter into its first line).

    It looks where an import would, so that it works in user and ``--target`` installations, too.
    """
    return f"""#!python
import os
import sys
import sysconfig

parts = {moved.split("/")!r}
for root in (*sys.path[1:], sysconfig.get_path("platlib")):
    path = os.path.join(root, *parts)
    if os.path.isfile(path):
        os.execv(path, [path, *sys.argv[1:]])
sys.exit(f"{{'/'.join(parts)}} is not installed where Python looks for modules")
""".encode()


def _edited(member: str, content: elf.Buffer, edits: ElfEdits, strip: bool) -> bytes:
    """The bytes of an ELF file after the edits, and after stripping where that is asked for."""
    with _refusing(member):
        return elf.edit(content, _with_strip(edits, strip))


def _with_strip(edits: ElfEdits, strip: bool) -> ElfEdits:
    return edits._replace(strip=edits.strip or strip)


@contextmanager
def _refusing(member: str) -> Iterator[None]:
    """Say of which file it is that it cannot be edited."""
    try:
        yield
    except EditRefused as error:
        raise RepairError(f"{member} cannot be edited: {error.what}") from None
    except ElfError as error:  # what the scanner does not look at, the editor may
        raise RepairError(f"{member} cannot be edited: {error}", "build the file again; it may be damaged") from None


__all__ = ["RepairedWheel", "copy_wheel", "repair_wheel"]
