"""Every error of the project: one root, a class per person who must act, each with an exit code.

The message of an error says *what* happened and *where*; ``cure`` says what to do about it. Nothing here
imports anything, so that every other module may raise these.

====  ======================  =====================================================
exit  class                   who must act
====  ======================  =====================================================
1     NotCompliant            the author of the native code (or of the tag)
2     UsageError              whoever typed the command
3     SettingsError           the author of ``pyproject.toml`` or of the option
4     InnerBackendError       the author of ``[build-system]``
5     BuildFailed             the author of the project that does not build
6     StrategyBlocked         whoever runs the machine
7     WheelError, ElfError    whoever made the wheel
8     RepairError             whoever provides the libraries
9     OutputError             whoever owns the output directory
10    TrialFailed             the author of the code that is tested, or of its tests
70    (an internal error)     us
130   (interrupted)           nobody
143   (terminated)            nobody
====  ======================  =====================================================
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar, Optional

DOCUMENTATION = "https://portable-backend.readthedocs.io/"
"""Where ``docs`` is published; the same as in ``[project.urls]``."""


class PortableBackendError(Exception):
    """The root of all errors that a user may meet.

    :param message: what happened and where, in one or a few lines.
    :param cure: what the reader can do about it; ``None`` where nothing is known.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, cure: Optional[str] = None) -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return printable(self.message if self.cure is None else f"{self.message}\n  cure: {self.cure}")

    @property
    def kind(self) -> str:
        """The name of its class; a class of another module goes by that of the class here that it refines."""
        return next(each.__name__ for each in type(self).__mro__ if each.__module__ == __name__)

    @property
    def address(self) -> str:
        """Of the page that explains it."""
        return f"{DOCUMENTATION}reference/errors/{self.kind}/"

    def report(self) -> str:
        """All that is printed of it: message, cure, and last the address of the page."""
        return f"portable-backend: error: {self}\n  see: {self.address}"


def printable(text: str) -> str:
    """``text`` with everything escaped that a terminal could obey or not encode; it may quote a hostile file."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else each.encode("unicode_escape").decode() for each in text
    )


def one_line(text: str) -> str:
    """The same for what is one line, or a name in it: a line end in a name must not begin a line of a report."""
    return printable(text).replace("\n", "\\n")


# What we import that is not of the standard library: by module, what pip calls it.
_REQUIRED = {"packaging": "packaging", "pyproject_hooks": "pyproject-hooks", "tomli": "tomli"}


def missing_requirement(error: ModuleNotFoundError) -> Optional[StrategyBlocked]:
    """What to say of a module that cannot be imported, if it is one that we require: the installation is not whole."""
    name = _REQUIRED.get((error.name or "").partition(".")[0])
    if name is None:
        return None
    return StrategyBlocked(f"the package {name}, which portable-backend requires, is missing", f"pip install {name}")


class NotCompliant(PortableBackendError):
    """A wheel is not what its tag, or the target asked for, promises."""

    exit_code = 1


class UsageError(PortableBackendError):
    """The command line does not make sense."""

    exit_code = 2


class SettingsError(PortableBackendError):
    """A setting is unknown, malformed or contradicts another."""

    exit_code = 3


class InnerBackendError(PortableBackendError):
    """The inner backend is missing, ambiguous, or does not offer a hook."""

    exit_code = 4


class BuildFailed(PortableBackendError):
    """The inner backend was run and did not produce a wheel."""

    exit_code = 5


class StrategyBlocked(PortableBackendError):
    """The machine cannot do what the chosen strategy needs."""

    exit_code = 6


class WheelError(PortableBackendError):
    """A wheel breaks the rules of its format (binary distribution format, PEP 427)."""

    exit_code = 7


class ElfError(WheelError):
    """An ELF file breaks the rules of its format.

    :param offset: byte offset in the file of the structure at fault.
    :param what: what is wrong with it.
    """

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(f"malformed ELF at byte {offset}: {what}")
        self.offset = offset
        self.what = what

    def __reduce__(self) -> tuple[type[ElfError], tuple[int, str]]:
        return type(self), (self.offset, self.what)


class RepairError(PortableBackendError):
    """A wheel cannot be repaired: a library is missing, or a file cannot be edited."""

    exit_code = 8


class EditRefused(RepairError):
    """An ELF file is laid out such that it cannot be edited safely, or the edits contradict each other.

    :param what: why.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"the ELF file cannot be edited: {what}")
        self.what = what

    def __reduce__(self) -> tuple[type[EditRefused], tuple[str]]:
        return type(self), (self.what,)


class OutputError(PortableBackendError):
    """The result cannot be written where it was asked for."""

    exit_code = 9


class TrialFailed(PortableBackendError):
    """A finished wheel does not pass its tests, or cannot be imported."""

    exit_code = 10


def error_of_kind(kind: str, message: str, cure: Optional[str]) -> PortableBackendError:
    """An error that another process had, by the name of its class."""
    found = globals().get(kind)
    if not (isinstance(found, type) and issubclass(found, PortableBackendError)):
        return PortableBackendError(message, cure)
    # Some are made of other things than a message; what they refine is not.
    root = PortableBackendError
    plain: type[PortableBackendError] = next(e for e in found.__mro__ if e is root or "__init__" not in vars(e))
    return plain(message, cure)
