"""Tables that pass by and are not kept: the facts are those of the whole file, but for names that nobody can list."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from pathlib import Path

import pytest
from elf_builder import BASE, Definition, Elf, Image, Need, Symbol, build, passed_scan, streamed_scan
from wheel_maker import X86_NAME, make_wheel

from portable_backend import audit, elf, elfstream
from portable_backend.auditing.facts import read_wheel_facts
from portable_backend.errors import ElfError
from portable_backend.wheels import open_wheel

NAMES = [f"_ZN7library{number}Ev" for number in range(3000)]  # more than a scan takes along without being asked


@pytest.fixture(autouse=True)
def everything_passes_by(native_scan: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elfstream, "HEAD", 100)
    monkeypatch.setattr(elfstream, "NAMES", -1)
    monkeypatch.setattr(elfstream, "OTHERS", -1)


def library(bits: int = 64, order: str = "<", **more: object) -> Image:
    """One that has 3,000 symbols, takes two, and bears the usual names."""
    symbols = [
        Symbol("malloc", version=2),
        Symbol("optional", binding=2),
        *(Symbol(name, defined=True, version=3 if place % 2 else 0x8003) for place, name in enumerate(NAMES)),
        Symbol("PyInit_demo", defined=True),
        Symbol("hidden", defined=True, visibility=2),
    ]
    values: dict[str, object] = {
        "needed": ("libc.so.6", "libm.so.6"),
        "soname": "libdemo.so.1",
        "runpath": "$ORIGIN/../demo.libs",
        "symbols": symbols,
        "needs": (Need("libc.so.6", (("GLIBC_2.17", 2),)),),
        "definitions": (Definition("libdemo.so.1", 1, flags=1), Definition("DEMO_1", 3)),
        "sysv_hash": True,
        "gnu_hash": True,
        "relocations": [(number % 3000, 1) for number in range(5000)],
        "plt": [(1, 7)],
        **more,
    }
    return build(Elf(bits, order, **values))  # type: ignore[arg-type]  # of any field


@pytest.mark.parametrize("length", [11, 24, 1000])
@pytest.mark.parametrize(("bits", "order"), [(64, "<"), (64, ">"), (32, "<"), (32, ">")])
def test_facts_are_those_of_the_whole_file(bits: int, order: str, length: int) -> None:
    data = library(bits, order).bytes
    whole = elf.scan(data)
    for come_by in (streamed_scan, passed_scan):
        found = come_by(data, length)
        assert isinstance(found.exports, elf.PassedSymbols)
        assert found == whole
        assert whole == found
        assert found.imports[0] == ("malloc", "GLIBC_2.17", "libc.so.6", False)
        assert len(found.exports) == 3001
    assert whole.exports[0].default is False


def test_what_can_be_asked_of_exports() -> None:
    exports = streamed_scan(library().bytes, 100).exports
    assert elf.names_among(exports, {NAMES[0], NAMES[2999], "malloc", "hidden", "PyInit_demo", ""}) == {
        NAMES[0], NAMES[2999], "PyInit_demo",
    }  # fmt: skip
    assert elf.names_among(exports, set()) == set()
    assert elf.has_name(exports, ("PyInit_", "PyModExport_"))
    assert elf.has_name(exports, ("PyModExport_",), ("initdemo", NAMES[7]))
    assert not elf.has_name(exports, ("PyModExport_",), ("initdemo", NAMES[7] + "x"))
    assert elf.names_of_python(exports) == ["PyInit_demo"]
    assert "3001" in repr(exports)
    with pytest.raises(TypeError, match="not kept"):
        list(exports)
    assert pickle.loads(pickle.dumps(exports)) == exports


@pytest.mark.parametrize("other", [
    library(definitions=(Definition("libdemo.so.1", 1, flags=1), Definition("DEMO_2", 3))),
    library(symbols=[Symbol("malloc", version=2), *(Symbol(name, defined=True, version=3) for name in NAMES)], plt=()),
    library(symbols=[Symbol("malloc", version=2), Symbol("f", defined=True)], relocations=(), plt=()),
])  # fmt: skip
def test_others_are_not_equal(other: Image) -> None:
    mine = streamed_scan(library().bytes, 100).exports
    assert mine != elf.scan(other.bytes).exports
    assert mine != streamed_scan(other.bytes, 100).exports
    assert elf.scan(other.bytes).exports != mine


def test_without_the_compiled_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one interpreter found another may ask, which has no compiled code."""
    exports = streamed_scan(library().bytes, 100).exports
    monkeypatch.setattr(elf, "_native", None)
    assert elf.names_among(exports, {NAMES[3], "other"}) == {NAMES[3]}


def poked(image: Image, part: str, at: int, content: bytes) -> bytes:
    data = bytearray(image.bytes)
    place = image.at[part] + at
    data[place : place + len(content)] = content
    return bytes(data)


def out_of_the_ordinary() -> dict[str, bytes]:
    """Files that have to be read whole: strings that share bytes in unusual ways, and what is wrong with a file."""
    image = library()
    strings = bytes(image.data[image.at["strings"] : image.at["strings"] + image.size["strings"]])
    name = strings.index(NAMES[9].encode())
    second = image.at["symbols"] + 24 * 20
    return {
        "soname inside of an export": image.poke_tag(14, name + 3),
        "version inside of an export": image.poke(image.at["needs"] + 16 + 8, "I", name + 5),
        "import inside of an export": image.poke(image.at["symbols"] + 24, "I", name + 4),
        "two of one name": image.poke(second, "I", name),
        "name that is empty": image.poke(second, "I", name - 1),
        "name outside": image.poke(second, "I", 1 << 30),
        "soname outside": image.poke_tag(14, 1 << 20),
        "last string without an end": poked(image, "strings", image.size["strings"] - 1, b"x"),
        "strings that begin later": image.poke_tag(5, BASE + image.at["strings"] + 1),
        "strings that are less": image.poke_tag(10, image.size["strings"] - 40),
        "symbols elsewhere": image.poke_tag(6, BASE + image.at["strings"]),
        "unknown version": poked(image, "versions", 2 * 20, b"\x09\x00"),
        "hash of fewer": image.poke(image.at["gnu hash"] + 4, "I", 1),
        "hash without an end": poked(image, "gnu hash", image.size["gnu hash"] - 4, bytes(4)),
        "hash with a long filter": image.poke(image.at["gnu hash"] + 8, "I", 1 << 28),
        "hash of nothing": image.poke(image.at["gnu hash"] + 24, "I", 0),
        "relocations of another width": image.poke_tag(9, 16),
        "a relocation of a symbol behind all": poked(image, "rela", 12, b"\xff\xff\xff\x00"),
        "an indirect function": poked(image, "rela", 8, b"\x25\x00\x00\x00"),
    }


@pytest.mark.parametrize("what", out_of_the_ordinary())
@pytest.mark.parametrize("length", [500, 1 << 20])
def test_what_is_out_of_the_ordinary(what: str, length: int) -> None:
    data = out_of_the_ordinary()[what]
    outcomes = []
    for come_by in (lambda data, _: elf.scan(data), streamed_scan, passed_scan):
        try:
            outcomes.append(come_by(data, length))
        except ElfError as error:
            outcomes.append((error.offset, error.what))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] == outcomes[2]


def moved_strings(gap: int) -> bytes:
    """A file whose strings an editor moved behind the code, where they come by long after the symbols."""
    image = library()
    data = bytearray(image.poke_tag(5, BASE + len(image.data) + gap))
    start, size = image.at["strings"], image.size["strings"]
    strings = bytes(data[start : start + size])
    data[start : start + size] = bytes(size)
    data += bytes(gap) + strings
    whole = len(data).to_bytes(8, "little")
    load = image.at["segment 0x1"]
    data[load + 32 : load + 40] = data[load + 40 : load + 48] = whole
    return bytes(data)


def test_strings_that_an_editor_moved() -> None:
    """They are not waited for again, at the other end of a large file: two passes, the second of which is short."""
    data = moved_strings(1_000_000)
    scan = elfstream.StreamedScan(len(data))
    lengths = []
    while not scan.done:
        scan.begin()
        for start in range(0, len(data), 1000):
            scan.feed(data[start : start + 1000])
            if scan.satisfied:
                break
        lengths.append(start)
        scan.end()
    assert isinstance(scan.facts, elf.ElfFacts)
    assert isinstance(scan.facts.exports, elf.PassedSymbols)
    assert scan.facts == elf.scan(data)
    assert len(lengths) == 2
    assert lengths[1] < 300_000


# --- whole wheels ------------------------------------------------------------------------------------------------


def test_judged_as_if_all_were_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file takes its names from another, whose tables pass by."""
    user = build(
        Elf(
            needed=("libdemo.so.1", "libc.so.6"),
            runpath="$ORIGIN",
            symbols=[*map(Symbol, NAMES), Symbol("nobody_has_it"), Symbol("PyInit_ext", defined=True)],
            sysv_hash=True,
        )
    )
    padding = random.Random(1).randbytes(3 << 20)  # large enough to come by in pieces
    files = {"demo/ext.so": user.bytes + padding, "demo/libdemo.so.1": library(runpath=None).bytes + padding}
    path = make_wheel(tmp_path, files, X86_NAME)
    verdicts = []
    for limit in (-1, 1 << 30):
        monkeypatch.setattr(elfstream, "NAMES", limit)
        with open_wheel(path) as wheel:
            facts = read_wheel_facts(wheel)
        passed = [isinstance(each.exports, elf.PassedSymbols) for each in facts.elves.values()]
        assert passed == [limit < 0] * 2
        verdicts.append(audit(path).findings)
    assert verdicts[0] == verdicts[1]
    undefined = [finding.symbol for finding in verdicts[0] if finding.kind == "undefined-symbol"]
    assert undefined == ["nobody_has_it"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_names_are_not_in_memory(tmp_path: Path) -> None:
    """A library with 60 MB of names is judged in a fraction of that."""
    names = (f"{number:08}" + "x" * 5000 for number in range(12_000))
    image = build(Elf(symbols=[Symbol("malloc"), *(Symbol(name, defined=True) for name in names)], sysv_hash=True))
    path = make_wheel(tmp_path, {"demo/libdemo.so": bytes(image.data)}, X86_NAME)
    code = (
        "import sys; from portable_backend.cli import main; main(['audit', sys.argv[1]]);"
        "print([line for line in open('/proc/self/status') if line.startswith('VmHWM')][0].split()[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 45_000, done.stderr
