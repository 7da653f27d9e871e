"""The bill of materials and the licence texts of what was grafted."""

from __future__ import annotations

import json
from pathlib import Path

from test_packages import dpkg, put
from wheel_maker import shared

from portable_backend import elf
from portable_backend.auditing.libraries import HostLibrary
from portable_backend.auditing.verdict import Verdict
from portable_backend.elf import ElfEdits
from portable_backend.repairing.plan import Graft, RepairPlan
from portable_backend.repairing.sbom import make, story, with_packages


def graft(path: Path, *needed: str) -> Graft:
    library = HostLibrary(path, elf.scan(shared(soname=path.name)), f"{len(path.name):064x}")
    edits = ElfEdits(replace_needed=tuple((name, name) for name in needed))
    return Graft(library, f"demo.libs/{path.name}", edits)


def planned(*grafts: Graft) -> RepairPlan:
    verdict = Verdict(True, None, None, None, (), (), ())
    return RepairPlan(tuple(grafts), {}, {}, (), verdict)


def system(root: Path) -> RepairPlan:
    """Two libraries of one package that lists them under /lib, and one that nobody owns; /lib is in /usr."""
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    names = ["/usr/lib/libav1.so.1", "/usr/lib/libavb.so.22", "/usr/lib/libown.so"]
    dpkg(root, {"libav:amd64": ["/lib/libav1.so.1", "/lib/libavb.so.22"]})
    put(root, "/usr/share/doc/libav/copyright", "see /usr/share/common-licenses/MIT-0")
    put(root, "/usr/share/common-licenses/MIT-0", "do as you please")
    paths = [put(root, name) for name in names]
    return with_packages(planned(graft(paths[0], "libavb.so.22"), *map(graft, paths[1:])), root)


def test_every_library_is_a_component(tmp_path: Path) -> None:
    members = make("Demo_X", "1.0", system(tmp_path).grafts)
    bill = json.loads(members["sboms/portable-backend.cdx.json"])
    assert [each["name"] for each in bill["components"]] == ["libav", "libav", "libown.so"]
    assert len({each["bom-ref"] for each in bill["components"]}) == 3
    assert [each.get("version") for each in bill["components"]] == ["1.0-1", "1.0-1", None]
    needs = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert len(needs["pkg:pypi/demo-x@1.0"]) == 3
    assert needs["file:demo.libs/libav1.so.1"] == ["file:demo.libs/libavb.so.22"]


def test_licence_texts_lie_beside_it_and_are_named_in_it(tmp_path: Path) -> None:
    members = make("demo", "1.0", system(tmp_path).grafts)
    texts = ["licenses/demo.libs/common-licenses/MIT-0", "licenses/demo.libs/libav/copyright"]
    assert sorted(members) == [*texts, "sboms/portable-backend.cdx.json"]
    bill = json.loads(members["sboms/portable-backend.cdx.json"])
    first, _, last = bill["components"]
    assert [each["url"] for each in first["externalReferences"]] == [f"../{name}" for name in texts]
    assert "externalReferences" not in last


def test_story(tmp_path: Path) -> None:
    plan = system(tmp_path)
    lines = list(story(plan.grafts))
    assert "(libav 1.0-1) as demo.libs/libav1.so.1" in lines[0]
    assert "no package of the system" in lines[2]
    (tmp_path / "usr/share/doc/libav/copyright").unlink()
    assert "libav: this system has no licence text" in list(story(with_packages(plan, tmp_path).grafts))[-1]


def test_same_libraries_give_the_same_bytes(tmp_path: Path) -> None:
    first = system(tmp_path)
    again = with_packages(first, tmp_path)
    assert make("demo", "1.0", first.grafts) == make("demo", "1.0", again.grafts)
    assert make("demo", "1.0", ()) == {}


def test_words_about_a_licence(tmp_path: Path) -> None:
    """An SPDX expression is given as one, anything else as words."""
    put(tmp_path, "/lib/apk/db/installed", "P:a\nV:1-r0\nL:MIT AND Zlib\nF:usr/lib\nR:a.so\n\nP:b\nV:1-r0\nL:custom\n"
        "F:usr/lib\nR:b.so\n")  # fmt: skip
    grafts = [graft(put(tmp_path, f"/usr/lib/{name}.so")) for name in "ab"]
    members = make("demo", "1.0", with_packages(planned(*grafts), tmp_path).grafts)
    one, two = json.loads(members["sboms/portable-backend.cdx.json"])["components"]
    assert one["licenses"] == [{"expression": "MIT AND Zlib"}]
    assert two["licenses"] == [{"license": {"name": "custom"}}]
