"""``portable-backend init``: an existing project uses us, or does so no longer. Reads and writes one file."""

from __future__ import annotations

import difflib
import os
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Optional

from ..errors import InnerBackendError, OutputError, SettingsError, UsageError
from ..inner import KNOWN_BACKENDS, build_system, find_inner, own_table
from ..plan import InnerBackend
from ..records import NamedTuple
from ..settings import NAMES, parse_settings
from ..targets import Arch, parse_target
from . import cibuildwheel
from .editing import OUR_BACKEND, OUR_REQUIREMENT, Changes, edit_pyproject, parse_pyproject
from .undoing import remembers, split_lines, undo, with_memory, without_memory

_FILE = "pyproject.toml"
# What build-system.requires means where it is absent (PEP 518).
_DEFAULT_REQUIRES = "setuptools>=40.8.0"
_LARGEST = 16 << 20


class Wishes(NamedTuple):
    """What the command line asks for.

    :param settings: for ``[tool.portable-backend]``; they replace what is there.
    """

    settings: Mapping[str, Any] = {}
    from_cibuildwheel: bool = False
    remove_cibuildwheel: bool = False


class Proposal(NamedTuple):
    """A file as it is and as it would be.

    :param path: where it is written: of a symbolic link, where it leads.
    :param before: its text; ``None`` where there is none.
    :param after: its text then; ``None`` where it is removed.
    :param inner: the inner backend; ``None`` of an undo.
    :param translation: what became of cibuildwheel's options.
    """

    path: Path
    before: Optional[str]
    after: Optional[str]
    inner: Optional[InnerBackend] = None
    translation: Optional[cibuildwheel.Translation] = None
    notes: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return self.before != self.after

    @property
    def diff(self) -> str:
        """What would change, as a unified diff."""
        old, new = split_lines(self.before or ""), split_lines(self.after or "")
        lines = difflib.unified_diff(
            old,
            new,
            "/dev/null" if self.before is None else f"a/{_FILE}",
            "/dev/null" if self.after is None else f"b/{_FILE}",
        )
        marked = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
        return "".join(line.replace("\r\n", "\n") for line in marked)


def propose_init(directory: Path, wishes: Wishes) -> Proposal:
    """What ``init`` would do to a project.

    :raises UsageError: if there is no project.
    :raises PortableBackendError: if its file cannot be read, understood or edited.
    """
    path, text = _read(directory)
    if text is None and not any((directory / name).exists() for name in ("setup.py", "setup.cfg")):
        raise UsageError(f"{directory}: no project, it has neither pyproject.toml nor setup.py", "name its directory")
    current = without_memory(text or "")
    data = parse_pyproject(current, str(path))
    _require_project(directory, data)
    inner = _inner_of(data)
    translation = _translation(directory, data) if wishes.from_cibuildwheel else None
    edited = edit_pyproject(current, _changes(data, inner, wishes, translation))
    notes = _line_of_inner(data, inner)
    _check(edited, inner, path)
    if text is not None and edited == current:
        return Proposal(path, text, text, inner, translation, notes)
    original = text
    if text is not None and remembers(text):
        try:
            original = undo(text)
        except SettingsError:  # what was written first has changed since: from here on, the last state is remembered
            original = current
    return Proposal(path, text, with_memory(original, edited), inner, translation, notes)


def propose_undo(directory: Path) -> Proposal:
    """What ``init --undo`` would do to a project.

    :raises SettingsError: if the file does not remember an ``init``, or what it wrote has changed since.
    """
    path, text = _read(directory)
    if text is None:
        raise UsageError(f"{directory}: there is no {_FILE}", "name the project's directory")
    after = undo(text)
    if after is not None:
        parse_pyproject(after, f"{path}, once undone")
    return Proposal(path, text, after)


def apply_proposal(proposal: Proposal) -> None:
    """Write the file, whole or not at all; its mode stays.

    :raises OutputError: if it cannot be written, or was changed meanwhile.
    """
    path = proposal.path
    try:
        if _bytes_of(path) != (None if proposal.before is None else proposal.before.encode("utf-8")):
            raise OutputError(f"{path} has changed meanwhile; nothing was written", "run the command again")
        if proposal.after is None:
            path.unlink()
        else:
            write_file(path, proposal.after.encode("utf-8"))
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}") from None


# --- reading and writing ---------------------------------------------------------------------------------------------


def _read(directory: Path) -> tuple[Path, Optional[str]]:
    """The path of the file proper, and its text.

    :raises OutputError: if it could not be written afterwards.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory}: no such directory")
    path = directory / _FILE
    if path.is_symlink():
        real, root = path.resolve(), directory.resolve()
        if root not in real.parents:
            raise OutputError(
                f"{path} is a symbolic link that leads out of the project, to {real}",
                f"run init on {real.parent}, or put the file itself here",
            )
        path = real
    try:
        data = _bytes_of(path)
        if data is None:
            return path, None
        if not stat.S_IMODE(path.stat().st_mode) & 0o222:
            raise OutputError(f"{path} is read-only", f"chmod u+w {path}")
        return path, data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is no UTF-8, which TOML has to be") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror or error}") from None


def _bytes_of(path: Path) -> Optional[bytes]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise SettingsError(f"{path} is no regular file")
        if path.stat().st_size > _LARGEST:
            raise SettingsError(f"{path} is larger than {_LARGEST >> 20} MiB")
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all, whatever happens meanwhile; its mode stays."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, _mode(path))
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _mode(path: Path) -> int:
    """The mode of the file that is replaced, or that of a new one."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


# --- what shall be written -------------------------------------------------------------------------------------------


def _require_project(directory: Path, data: Mapping[str, Any]) -> None:
    known = "build-system" in data or "project" in data
    if not known and not any((directory / name).exists() for name in ("setup.py", "setup.cfg")):
        raise UsageError(
            f"{directory}: {_FILE} has neither [build-system] nor [project], and there is no setup.py",
            "name the directory of a project that can be built",
        )


def _uses_us(data: Mapping[str, Any]) -> bool:
    declared = build_system(data).get("build-backend")
    return declared is not None and declared.partition(":")[0] == OUR_BACKEND


def _inner_of(data: Mapping[str, Any]) -> InnerBackend:
    return find_inner(data, parse_settings(known_settings(own_table(data)), {}))


def known_settings(table: Mapping[str, Any]) -> dict[str, Any]:
    """The table without what commands read and backends do not, so that an older model of it does not refuse."""
    if "test" in NAMES:
        return dict(table)
    plain = {key: value for key, value in table.items() if key not in ("test", "overrides")}
    overrides = [
        {key: value for key, value in each.items() if key != "test"} if isinstance(each, dict) else each
        for each in table.get("overrides", ())
    ]
    return {**plain, "overrides": overrides} if overrides else plain


def _changes(
    data: Mapping[str, Any],
    inner: InnerBackend,
    wishes: Wishes,
    translation: Optional[cibuildwheel.Translation],
) -> Changes:
    requires, named = _requires(data), {}
    if not _uses_us(data) and "inner-backend" not in own_table(data):
        named = _names(data, inner, requires)
    translated = {} if translation is None else translation.settings
    wished = dict(wishes.settings)
    if "container" in translated:
        wished.pop("container", None)
    remove = None
    if wishes.remove_cibuildwheel and "cibuildwheel" in data.get("tool", {}):
        remove = cibuildwheel.removable(cibuildwheel.as_table(data["tool"]["cibuildwheel"]))
    return Changes(
        requires=requires,
        backend=not _uses_us(data),
        settings={**named, **translated, **wished},
        force=frozenset(wished),
        remove=remove,
        comment="translated from [tool.cibuildwheel] by portable-backend init" if translated else None,
    )


def _requires(data: Mapping[str, Any]) -> tuple[str, ...]:
    system = build_system(data)
    if _uses_us(data) and "backend-path" in system:  # we ourselves, or a copy of us in the tree
        return ()
    if "requires" not in system:
        return (_DEFAULT_REQUIRES, OUR_REQUIREMENT)
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    for text in system["requires"]:
        try:
            if canonicalize_name(Requirement(text).name) == OUR_REQUIREMENT:
                return ()
        except InvalidRequirement:
            message = f"build-system.requires has {text!r}, which is no requirement (PEP 508)"
            raise InnerBackendError(message) from None
    return (OUR_REQUIREMENT,)


def _names(data: Mapping[str, Any], inner: InnerBackend, requires: tuple[str, ...]) -> dict[str, Any]:
    """``inner-backend`` and its path, where the requirements alone would not lead to the same backend."""
    system = build_system(data)
    inferred = {**data, "build-system": {"requires": [*system.get("requires", ()), *requires]}}
    inferred["build-system"]["build-backend"] = OUR_BACKEND
    try:
        if _inner_of(inferred) == inner:
            return {}
    except InnerBackendError:
        pass
    if inner.path:
        return {"inner-backend": inner.name, "inner-backend-path": list(system["backend-path"])}
    short = inner.kind if inner.kind is not None and KNOWN_BACKENDS[inner.kind] == inner.name else inner.name
    return {"inner-backend": short}


def _line_of_inner(data: Mapping[str, Any], inner: InnerBackend) -> tuple[str, ...]:
    used = "uses portable-backend already" if _uses_us(data) else "is kept as the inner backend"
    return (f"{inner.name} {used}" if not _uses_us(data) else f"the project {used}, around {inner.name}",)


def _check(edited: str, inner: InnerBackend, path: Path) -> None:
    """A last look: the settings are ones, and the backend that builds is the one from before."""
    data = parse_pyproject(edited, str(path))
    settings = parse_settings(known_settings(own_table(data)), {})
    if settings.target is not None:
        parse_target(settings.target, Arch.X86_64)
    if find_inner(data, settings) != inner:
        raise SettingsError(f"{path}: the backend would not be {inner.name} any longer; nothing was written")


def _translation(directory: Path, data: Mapping[str, Any]) -> cibuildwheel.Translation:
    """cibuildwheel's options, from where its users keep them.

    :raises UsageError: if there are none.
    """
    table = data.get("tool", {}).get("cibuildwheel")
    beside = directory / "cibuildwheel.toml"
    notes: list[str] = []
    if beside.is_file():
        if table is None:
            text = (_bytes_of(beside) or b"").decode("utf-8", "replace")
            table = parse_pyproject(text, str(beside)).get("tool", {}).get("cibuildwheel")
        else:
            notes.append("cibuildwheel.toml was not read: cibuildwheel does so only with --config-file")
    if table is None:
        raise UsageError(
            f"{directory}: neither {_FILE} nor cibuildwheel.toml has a table [tool.cibuildwheel]",
            "options that a workflow gives in CIBW_… variables are in docs/how-to/from-cibuildwheel.md",
        )
    project = data.get("project", {})
    requires_python = project.get("requires-python") if isinstance(project, dict) else None
    result = cibuildwheel.translate(
        cibuildwheel.as_table(table), requires_python if isinstance(requires_python, str) else None
    )
    notes += _kept(own_table(data), result.settings)
    return result._replace(notes=(*result.notes, *notes))


def _kept(table: Mapping[str, Any], translated: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A line for each setting that the project has already, with another value than the translation's."""
    lines: list[str] = []
    for name, value in translated.items():
        there = table.get(name)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            lines += _kept(there, value, f"{prefix}{name}.")
        elif name in table and there != value:
            lines.append(f"{prefix}{name}: [tool.portable-backend] has it already, and it stays; here it is {value!r}")
    return lines
