"""Bills of materials of inner backends, freed of the time and the place of the build."""

from __future__ import annotations

import json
from typing import Any

import pytest

from portable_backend.repairing.inner_sboms import Source, is_bill, normalise

EPOCH = 1_700_000_000


SERIAL = "3e671687-395b-41f5-a30f-a58921a69b79"


def bill(where: str = "/home/me/my project", serial: str = SERIAL, **more: Any) -> bytes:
    """What maturin writes, shortened."""
    path = where.replace(" ", "%20")
    reference = f"path+file://{path}#demo@1.0"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{serial}",
        "metadata": {
            "timestamp": "2026-11-21T12:23:43.068822437Z",
            "component": {
                "bom-ref": reference,
                "purl": f"pkg:cargo/demo@1.0?download_url=file://{path}",
                "components": [{"bom-ref": f"{reference} bin-target-0"}],
                "author": "Ren\u00e9",
            },
        },
        "components": [{"bom-ref": "registry+https://github.com/rust-lang/crates.io-index#heck@0.5.0"}],
        "dependencies": [{"ref": reference, "dependsOn": [f"path+file://{path.rpartition('/')[0]}/core#core@1.0"]}],
        **more,
    }
    return json.dumps(document, indent=2, ensure_ascii=False).encode()


def normalised(content: bytes, where: str = "/home/me/my project") -> bytes:
    return normalise(content, Source((where,), EPOCH))


def test_place_time_and_dice_do_not_count() -> None:
    elsewhere = "/tmp/a/b"
    one = normalised(bill())
    other = normalised(
        bill(elsewhere, "11111111-1111-4111-8111-111111111111").replace(b"2026-11-21T12", b"2027-01-01T07"), elsewhere
    )
    assert one == other
    assert b"/home/me" not in one


def test_what_is_left_says_the_same() -> None:
    document, given = json.loads(normalised(bill())), json.loads(bill())
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20Z"
    assert document["serialNumber"] != given["serialNumber"]
    (dependency,) = document["dependencies"]
    assert dependency["ref"] == document["metadata"]["component"]["bom-ref"] == "path+file://.#demo@1.0"
    assert dependency["dependsOn"] == ["path+file://../core#core@1.0"]
    assert document["components"] == given["components"]
    assert document["metadata"]["component"]["author"] == "Ren\u00e9"
    assert document["metadata"]["component"]["purl"] == "pkg:cargo/demo@1.0?download_url=file://."


def test_another_content_has_another_number() -> None:
    numbers = {json.loads(normalised(bill(version=version)))["serialNumber"] for version in (1, 2)}
    assert len(numbers) == 2


def test_twice_is_once() -> None:
    assert normalised(normalised(bill())) == normalised(bill())


def test_a_number_that_was_derived_stays() -> None:
    serial = "886313e1-3b8a-5372-9b90-0c9aee199e5d"
    assert json.loads(normalised(bill(serial=serial)))["serialNumber"] == f"urn:uuid:{serial}"


def test_links_to_the_document_follow_its_number() -> None:
    document = json.loads(normalised(bill(externalReferences=[{"url": f"urn:cdx:{SERIAL}/1"}])))
    assert document["externalReferences"][0]["url"][8:-2] == document["serialNumber"][9:]


@pytest.mark.parametrize("text", ["/home/me/my project2/x", "/opt/home/me/my project", "https://home/me/my project"])
def test_other_paths_that_look_alike_stay(text: str) -> None:
    assert json.loads(normalised(bill(note=text)))["note"] == text


def test_a_path_below_the_source_is_relative() -> None:
    assert json.loads(normalised(bill(note="/home/me/my project/src/lib.rs")))["note"] == "./src/lib.rs"


def test_a_package_somewhere_else_altogether_stays() -> None:
    note = "path+file:///usr/share/cargo/registry/x#x@1"
    assert json.loads(normalised(bill(note=note)))["note"] == note


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'["CycloneDX"]',
        b'{"spdxVersion": "SPDX-2.3", "created": "2026-11-21T12:23:43Z"}',
        b'{"bomFormat":  "CycloneDX", "serialNumber": "urn:uuid:none", "metadata": [1]}',
        b'{"bomFormat":  "CycloneDX", "serialNumber": 7, "metadata": {"timestamp": null}}',
    ],
)
def test_what_is_no_bill_stays_byte_for_byte(content: bytes) -> None:
    assert normalised(content) == content


def test_only_json_in_sboms_is_looked_at() -> None:
    assert is_bill("demo-1.dist-info/sboms/demo.cyclonedx.json", "demo-1.dist-info")
    assert not is_bill("demo-1.dist-info/sboms/demo.xml", "demo-1.dist-info")
    assert not is_bill("demo/sboms/demo.json", "demo-1.dist-info")
