"""Who owns a file, by databases of package managers: the real ones where they are, else texts as they write them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from portable_backend.repairing.licences import MAX_TEXT, is_spdx, read_licences
from portable_backend.repairing.packages import Package, find_packages

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\nVERSION_ID="12"\n'
LIBRARY = "/usr/lib/x86_64-linux-gnu/libfoo.so.1.2"


def put(root: Path, name: str, text: object = b"\x7fELF") -> Path:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else str(text).encode())
    return path


def dpkg(root: Path, lists: dict[str, list[str]], **versions: str) -> None:
    """A database of dpkg's: ``lists`` by the name of the list, versions by the same with marks replaced."""
    put(root, "/etc/os-release", DEBIAN)
    status = []
    for owner, files in lists.items():
        put(root, f"/var/lib/dpkg/info/{owner}.list", "/.\n" + "".join(f"{file}\n" for file in files))
        name, _, arch = owner.partition(":")
        version = versions.get(owner.replace(":", "_"), "1.0-1")
        status.append(
            f"Package: {name}\nStatus: install ok installed\nArchitecture: {arch or 'amd64'}\nVersion: {version}\n"
            f"Description: a library\n that is about\n .\n Package: nothing\n"
        )
    put(root, "/var/lib/dpkg/status", "\n".join(status))


def merged(root: Path) -> None:
    """``/lib`` as a link to ``/usr/lib``."""
    (root / "usr/lib").mkdir(parents=True, exist_ok=True)
    (root / "lib").symlink_to("usr/lib")


def test_real_dpkg_says_the_same() -> None:
    if not shutil.which("dpkg-query"):
        pytest.skip("this system has no dpkg")
    some = sorted({path.resolve() for path in Path("/usr/lib").glob("*-linux-gnu/lib[cmz]*.so.*") if path.is_file()})
    found = find_packages([*some[:6], Path("/usr/lib/none.so")])
    assert found
    for path in some[:6]:
        spelled = [str(path), str(path)[4:]]
        told = subprocess.run(["dpkg-query", "-S", *spelled], capture_output=True, text=True, check=False).stdout
        assert (path in found) == bool(told)
        if told:
            owner = told.split(": ")[0].split(",")[0]
            command = ["dpkg-query", "-W", "-f=${Package} ${Version}", owner]
            package = found[path]
            shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            assert shown == f"{package.name} {package.version}"
    assert Path("/usr/lib/none.so") not in found


@pytest.mark.parametrize("listed", [LIBRARY, LIBRARY[len("/usr") :]])
def test_merged_usr(listed: str, tmp_path: Path) -> None:
    """A package lists /lib/… or /usr/lib/…; where the two are one directory, either means the file."""
    merged(tmp_path)
    path = put(tmp_path, LIBRARY)
    dpkg(tmp_path, {"libfoo1:amd64": ["/lib", listed], "other": ["/usr/lib/libfoo.so.1.2", f"{LIBRARY}.3"]})
    (package,) = find_packages([path], tmp_path).values()
    assert package.purl == "pkg:deb/debian/libfoo1@1.0-1?arch=amd64&distro=debian-12"


def test_usr_that_is_not_merged(tmp_path: Path) -> None:
    put(tmp_path, "/lib/libfoo.so")
    path = put(tmp_path, "/usr/lib/libfoo.so")
    dpkg(tmp_path, {"essential": ["/lib/libfoo.so"], "zusatz": ["/usr/lib/libfoo.so"]})
    assert find_packages([path], tmp_path)[path].name == "zusatz"
    assert find_packages([tmp_path / "lib/libfoo.so"], tmp_path)[tmp_path / "lib/libfoo.so"].name == "essential"


def test_one_package_for_two_architectures(tmp_path: Path) -> None:
    one, two = (put(tmp_path, f"/usr/lib/{arch}/libfoo.so.1") for arch in ("x86_64-linux-gnu", "i386-linux-gnu"))
    lists = {
        "libfoo1:i386": ["/usr/lib/i386-linux-gnu/libfoo.so.1"],
        "libfoo1:amd64": ["/usr/lib/x86_64-linux-gnu/libfoo.so.1"],
    }
    dpkg(tmp_path, lists, libfoo1_i386="1:2.0+b1", libfoo1_amd64="1:3.0~rc1")
    found = find_packages([one, two], tmp_path)
    assert found[one].purl == "pkg:deb/debian/libfoo1@1%3A3.0~rc1?arch=amd64&distro=debian-12"
    assert (found[two].version, "arch=i386" in found[two].purl) == ("1:2.0+b1", True)


def test_diversions(tmp_path: Path) -> None:
    """Two packages list one name: the diverting one has it, the other one's file is what was moved aside."""
    name, moved = "/usr/lib/libGL.so.1", "/usr/lib/mesa/libGL.so.1"
    here, aside = put(tmp_path, name), put(tmp_path, moved)
    dpkg(tmp_path, {"a-mesa": [name], "nvidia": [name]})
    put(tmp_path, "/var/lib/dpkg/diversions", f"/bin/x\n/bin/y\nz\n{name}\n{moved}\nnvidia\n")
    found = find_packages([here, aside], tmp_path)
    assert (found[here].name, found[aside].name) == ("nvidia", "a-mesa")


APK = """\
C:Q1abc=
P:musl
V:1.2.4-r2
A:x86_64
L:MIT
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1x=

C:Q1def=
P:libfoo
V:3.1.0-r0
A:x86_64
T:says L:nothing
L:GPL-2.0-or-later WITH GCC-exception-3.1
o:foo
F:usr
F:usr/lib
R:libfoo.so.1
R:libfoo.so.1.2
Z:Q1y=
F:usr/lib/foo
R:plugin.so

P:broken
F:usr/lib
R:libbroken.so
"""


@pytest.mark.parametrize("database", ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"])
def test_apk(database: str, tmp_path: Path) -> None:
    put(tmp_path, "/etc/os-release", "ID=alpine\nVERSION_ID=3.18.4\n")
    put(tmp_path, database, APK)
    paths = [put(tmp_path, f"/usr/lib/{name}") for name in ("libfoo.so.1.2", "foo/plugin.so", "plugin.so")]
    broken = put(tmp_path, "/usr/lib/libbroken.so")
    for name in ("COPYING", "sub/NOTICE"):
        put(tmp_path, f"/usr/share/licenses/foo/{name}", name)
    found = find_packages([*paths, broken], tmp_path)
    assert sorted(found) == sorted(paths[:2])
    package = found[paths[0]]
    assert package.purl == "pkg:apk/alpine/libfoo@3.1.0-r0?arch=x86_64&distro=alpine-3.18.4"
    assert package.licence == "GPL-2.0-or-later WITH GCC-exception-3.1"
    assert read_licences(package, tmp_path) == {"libfoo/COPYING": b"COPYING", "libfoo/sub/NOTICE": b"sub/NOTICE"}


def test_rpm_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "/etc/os-release", 'ID="almalinux"\nVERSION_ID="8.9"\n')
    (tmp_path / "var/lib/rpm").mkdir(parents=True)
    merged(tmp_path)
    paths = [put(tmp_path, f"/usr/lib/{name}") for name in ("libfoo.so.1", "libfoo-extra.so.1", "libbar.so", "own.so")]
    foo = "P\tfooP\t0\t1.2-3.el8\tx86_64\tGPLv2+ and MIT\nF\t\t/usr/lib/libfoo.so.1\nF\t\t/lib/libfoo-extra.so.1\n"
    foo += "F\tdl\t/usr/share/licenses/fooP/COPYING\nF\td\t/usr/share/doc/fooP/README\n"
    bar = "P\tbar\t2\t1-1\tx86_64\t(none)\nF\t\t/usr/lib/libbar.so\n"
    put(tmp_path, "answer", foo + foo + bar + "file /usr/lib/own.so is not owned by any package\n")
    tool = put(tmp_path, "bin/rpm", f"#!/bin/sh\necho $# >> {tmp_path}/calls\ncat {tmp_path}/answer\nexit 1\n")
    tool.chmod(0o755)
    put(tmp_path, "/usr/share/licenses/fooP/COPYING", "the terms")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    found = find_packages(paths, tmp_path)
    assert (tmp_path / "calls").read_text() == "7\n"  # -qf, a format and four files
    assert [found[path].name if path in found else None for path in paths] == ["fooP", "fooP", "bar", None]
    package = found[paths[0]]
    assert package.purl == "pkg:rpm/almalinux/fooP@1.2-3.el8?arch=x86_64&distro=almalinux-8.9"
    assert (package.licence, is_spdx("GPLv2+ and MIT")) == ("GPLv2+ and MIT", False)
    assert found[paths[2]].purl == "pkg:rpm/almalinux/bar@1-1?arch=x86_64&distro=almalinux-8.9&epoch=2"
    assert found[paths[2]].licence is None
    assert read_licences(package, tmp_path) == {"fooP/COPYING": b"the terms"}


def test_no_package_manager(tmp_path: Path) -> None:
    assert find_packages([put(tmp_path, "/usr/lib/libfoo.so")], tmp_path) == {}
    assert find_packages([], tmp_path) == {}


# --- licence texts -----------------------------------------------------------------------------------------------


def deb(name: str) -> Package:
    return Package("deb", name, "1", "pkg:deb/debian/x@1")


def test_debian_copyright_and_what_it_refers_to(tmp_path: Path) -> None:
    text = (
        "On Debian systems see /usr/share/common-licenses/GPL-2. Also /usr/share/common-licenses/../../../etc/passwd,"
    )
    put(tmp_path, "/usr/share/doc/libfoo1/copyright", f"{text} /usr/share/common-licenses/Missing")
    put(tmp_path, "/usr/share/common-licenses/GPL-2", "the terms")
    put(tmp_path, "/etc/passwd", "secret")
    found = read_licences(deb("libfoo1"), tmp_path)
    assert sorted(found) == ["common-licenses/GPL-2", "libfoo1/copyright"]
    assert found["common-licenses/GPL-2"] == b"the terms"


def test_documents_of_another_package(tmp_path: Path) -> None:
    put(tmp_path, "/usr/share/doc/gcc-base/copyright", "terms")
    (tmp_path / "usr/share/doc/libgcc1").symlink_to("gcc-base")
    (tmp_path / "usr/share/doc/elsewhere").symlink_to("../../../home")
    (tmp_path / "usr/share/doc/circle").symlink_to("circle")
    put(tmp_path, "/home/copyright", "private")
    assert read_licences(deb("libgcc1"), tmp_path) == {"libgcc1/copyright": b"terms"}
    for name in ("elsewhere", "circle", "none", "../doc/gcc-base/../../../../home"):
        assert read_licences(deb(name), tmp_path) == {}


@pytest.mark.parametrize("content", [b"", b" \n", b"GPL\0", b"x" * (MAX_TEXT + 1)])
def test_what_is_no_licence_text(content: bytes, tmp_path: Path) -> None:
    put(tmp_path, "/usr/share/doc/libfoo1/copyright", content)
    assert read_licences(deb("libfoo1"), tmp_path) == {}


def test_names_in_a_wheel_are_plain(tmp_path: Path) -> None:
    names = [f"/usr/share/licenses/foo/{name}" for name in ("..hidden", "a b\n", "LICENSE", "license", "x/LICENSE")]
    for number, name in enumerate(names):
        put(tmp_path, name, str(number))
    package = Package("rpm", "foo", "1", "pkg:rpm/x/foo@1", None, (*names, "/etc/shadow", "/usr/share/doc/foo"))
    put(tmp_path, "/etc/shadow", "secret")
    put(tmp_path, "/usr/share/doc/foo/README", "a directory")
    found = read_licences(package, tmp_path)
    assert sorted(found) == ["foo/LICENSE", "foo/a_b_", "foo/hidden", "foo/license.2", "foo/x/LICENSE"]


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("MIT", True),
        ("MIT AND (BSD-3-Clause OR Zlib)", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1 AND LicenseRef-Own", True),
        ("GPLv2+", False),
        ("MIT and Zlib", False),
        ("BSD", False),
        ("MIT BSD-3-Clause", False),
        ("(MIT", False),
        ("MIT AND", False),
        ("AND", False),
        ("", False),
        ("(" * 5000 + "MIT" + ")" * 5000, False),
    ],
)
def test_spdx_expressions(licence: str, expected: bool) -> None:
    assert is_spdx(licence) is expected
