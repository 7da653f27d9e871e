"""Records and patterns that are cheap to define behave like those of the standard library."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from portable_backend.patterns import later
from portable_backend.records import NamedTuple
from support.wheel_maker import X86_NAME, libc_extension, make_wheel


class _Ours(NamedTuple):
    """Two fields."""

    one: int
    two: tuple[str, ...] = ()

    @property
    def both(self) -> int:
        return self.one + len(self.two)


class _Theirs(typing.NamedTuple):
    """Two fields."""

    one: int
    two: tuple[str, ...] = ()

    @property
    def both(self) -> int:
        return self.one + len(self.two)


def test_a_record_is_what_the_standard_librarys_is() -> None:
    ours, theirs = _Ours(1, two=("a",)), _Theirs(1, two=("a",))
    assert tuple(ours) == tuple(theirs)
    assert repr(ours).replace("_Ours", "") == repr(theirs).replace("_Theirs", "")
    assert (ours.both, ours._replace(one=3).both, ours._asdict()) == (2, 4, theirs._asdict())
    assert (_Ours._fields, _Ours._field_defaults) == (_Theirs._fields, _Theirs._field_defaults)
    assert (_Ours.__doc__, _Ours.__module__, _Ours.__qualname__) == (_Theirs.__doc__, __name__, "_Ours")
    assert typing.get_type_hints(_Ours) == typing.get_type_hints(_Theirs)
    assert pickle.loads(pickle.dumps(ours)) == ours
    with pytest.raises(TypeError):
        _Ours()  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        ours.one = 2  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "ab", "xaby"])
def test_a_pattern_that_is_compiled_later_finds_the_same(text: str) -> None:
    late, soon = later(r"a(?P<rest>b)", re.DOTALL), re.compile(r"a(?P<rest>b)", re.DOTALL)
    for name in ("fullmatch", "match", "search"):
        one, other = getattr(late, name)(text), getattr(soon, name)(text)
        assert (one and one.span()) == (other and other.span())
    assert late.sub("-", text) == soon.sub("-", text)
    assert late.pattern == soon.pattern
    assert later(rb"(") is not None  # what is wrong with it is said when it is used
    with pytest.raises(re.error):
        later(r"(").fullmatch(text)


def _run(wheel: Path, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "portable_backend.cli", *arguments, str(wheel)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload,no-any-return]


def test_a_command_that_ends_at_once_has_written_everything(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / X86_NAME, {"ext.cpython-311-x86_64-linux-gnu.so": libc_extension()})
    long = _run(wheel, "audit", "--json", *([str(wheel)] * 300))
    assert len(long.stdout.splitlines()) == 301, "more than a pipe holds"
    assert long.returncode in (0, 1)
    assert _run(tmp_path / "x-1-py3-none-any.whl", "audit").returncode == 7


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_report_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / X86_NAME, {"ext.cpython-311-x86_64-linux-gnu.so": libc_extension()})
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "portable_backend.cli", "audit", str(wheel)]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode not in (0, 1)
    assert "No space left" in ended.stderr
