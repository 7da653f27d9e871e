"""Which image a target gets, what interpreters and caches are called."""

from __future__ import annotations

from typing import Any, Optional

import pytest

from portable_backend.errors import SettingsError
from portable_backend.interpreters import Interpreter
from portable_backend.settings import ContainerSettings
from portable_backend.strategies.container import images
from portable_backend.strategies.container.engine_base import CacheItem
from portable_backend.targets import Arch, parse_target


def _reference(target: Optional[str], **settings: Any) -> str:
    tag = None if target is None else parse_target(target, Arch.X86_64)
    return images.choose_image(tag, ContainerSettings(**settings))[0].rpartition("/")[2].partition(":")[0]


@pytest.mark.parametrize(
    ("target", "image"),
    [
        ("manylinux_2_28", "manylinux_2_28_x86_64"),
        ("manylinux_2_17", "manylinux2014_x86_64"),
        ("manylinux2014", "manylinux2014_x86_64"),
        ("manylinux_2_31", "manylinux_2_28_x86_64"),
        ("manylinux_2_40", "manylinux_2_34_x86_64"),
        ("manylinux_2_5", "manylinux2014_x86_64"),
        ("musllinux_1_2", "musllinux_1_2_x86_64"),
        ("musllinux_1_1", "musllinux_1_2_x86_64"),
        ("manylinux_2_28_aarch64", "manylinux_2_28_aarch64"),
        ("manylinux_2_28_armv7l", "manylinux_2_31_armv7l"),
        ("manylinux_2_39_riscv64", "manylinux_2_39_riscv64"),
        ("musllinux_1_2_i686", "musllinux_1_2_i686"),
    ],
)
def test_the_newest_published_image_that_is_not_newer_than_the_target(target: str, image: str) -> None:
    assert _reference(target) == image


def test_published_images_are_pinned() -> None:
    reference, why = images.choose_image(parse_target("manylinux_2_28", Arch.X86_64), ContainerSettings())
    assert reference.rpartition(":")[2][:4].isdigit()
    assert "published" in why


def test_a_user_s_own_images_win_where_they_fit() -> None:
    own = {"manylinux_2_28": "own/general", "manylinux_2_28_x86_64": "own/exact", "musllinux_1_2": "own/musl"}
    assert _reference("manylinux_2_28", images=own) == "exact"
    assert _reference("manylinux_2_28_aarch64", images=own) == "general"
    assert _reference("manylinux_2_30", images=own) == "exact"
    assert _reference("musllinux_1_2", images=own) == "musl"
    # A published image that is nearer to the target is still the better one.
    assert _reference("manylinux_2_34", images=own) == "manylinux_2_34_x86_64"
    assert _reference("manylinux_2_17", images=own) == "manylinux2014_x86_64"
    assert _reference("manylinux_2_17", images={"manylinux2014": "own/old"}) == "old"
    assert _reference("manylinux_2_17", images=own, image="one/for-all") == "for-all"
    assert _reference(None, image="one/for-all@sha256:" + "0" * 64) == "for-all@sha256"


def test_a_target_without_an_image_is_an_error_with_the_line_to_write() -> None:
    with pytest.raises(SettingsError, match="no published image") as caught:
        _reference("manylinux_2_36_loongarch64")
    assert 'container.images = { "manylinux_2_36_loongarch64"' in str(caught.value)
    assert _reference("manylinux_2_36_loongarch64", images={"manylinux_2_36": "own/loong"}) == "loong"
    with pytest.raises(SettingsError, match="needs a target"):
        _reference(None)


def _interpreter(implementation: str, version: tuple[int, int, int], **variables: Any) -> Interpreter:
    return Interpreter("/python", implementation, version, "x86_64", 64, "linux-x86_64", "/usr", (), variables)


@pytest.mark.parametrize(
    ("interpreter", "names"),
    [
        (_interpreter("cpython", (3, 11, 4)), ("cp311-cp311", "python3.11")),
        (_interpreter("cpython", (3, 14, 0), Py_GIL_DISABLED=1), ("cp314-cp314t", "python3.14t")),
        (_interpreter("cpython", (3, 13, 0), Py_GIL_DISABLED=0), ("cp313-cp313", "python3.13")),
        (_interpreter("pypy", (3, 10, 13), SOABI="pypy310-pp73"), ("pp310-pypy310_pp73", "pypy3.10")),
    ],
)
def test_interpreters_have_the_names_that_the_images_give_them(
    interpreter: Interpreter, names: tuple[str, str]
) -> None:
    assert images.interpreter_names(interpreter) == names


def test_volumes_are_shared_by_the_tags_of_an_image_and_by_nobody_else() -> None:
    digest = "@sha256:" + "a" * 64
    name = images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64:2026.10.26-1", "amd64")
    assert images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64:other", "amd64") == name
    assert images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64", "amd64") == name
    assert images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64" + digest, "amd64") == name
    assert images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64:tag" + digest, "amd64") == name
    others = [
        images.volume_name("pip", "quay.io/pypa/manylinux2014_x86_64", "amd64"),
        images.volume_name("pip", "quay.io/pypa/manylinux_2_28_x86_64", "arm64"),
        images.volume_name("cargo", "quay.io/pypa/manylinux_2_28_x86_64", "amd64"),
        images.volume_name("pip", "localhost:5000/manylinux_2_28_x86_64", "amd64"),
        images.volume_name("pip", "localhost:5000/other", "amd64"),
    ]
    assert len({name, *others}) == 6


def test_before_all_runs_anew_when_anything_that_it_depends_on_differs() -> None:
    base = images.before_all_tag("sha256:1", ["dnf install x"], {"A": "1"}, {"ci/deps.sh": "abc"})
    assert images.before_all_tag("sha256:1", ["dnf install x"], {"A": "1"}, {"ci/deps.sh": "abc"}) == base
    different = {
        images.before_all_tag("sha256:2", ["dnf install x"], {"A": "1"}, {"ci/deps.sh": "abc"}),
        images.before_all_tag("sha256:1", ["dnf install y"], {"A": "1"}, {"ci/deps.sh": "abc"}),
        images.before_all_tag("sha256:1", ["dnf", "install x"], {"A": "1"}, {"ci/deps.sh": "abc"}),
        images.before_all_tag("sha256:1", ["dnf install x"], {"A": "2"}, {"ci/deps.sh": "abc"}),
        images.before_all_tag("sha256:1", ["dnf install x"], {"A": "1"}, {"ci/deps.sh": "abd"}),
        images.before_all_tag("sha256:1", ["dnf install x"], {"A": "1"}, {}),
    }
    assert len(different) == 6
    assert base not in different


def test_files_that_commands_name_are_found_in_them() -> None:
    commands = ["bash {project}/ci/deps.sh --fast && ./build.sh", "sh 'scripts/a.sh'; cat /etc/passwd ../outside"]
    found = images.mentioned_files(commands)
    assert {"ci/deps.sh", "build.sh", "scripts/a.sh"} <= set(found)
    assert not {"/etc/passwd", "../outside", "etc/passwd", "--fast"}.intersection(found)


def test_the_architecture_of_an_image_is_known_by_the_engine_s_word() -> None:
    assert images.fits_arch("amd64", Arch.X86_64)
    assert images.fits_arch("amd64", Arch.I686)
    assert images.fits_arch("arm64", Arch.AARCH64)
    assert not images.fits_arch("arm64", Arch.X86_64)
    assert not images.fits_arch("386", Arch.X86_64)
    assert images.engine_platform(Arch.ARMV7L) == "linux/arm/v7"


@pytest.mark.parametrize(
    ("image", "engine", "emulated"),
    [
        ("arm64", "amd64", True),
        ("amd64", "arm64", True),
        ("amd64", "amd64", False),
        ("386", "amd64", False),
        ("arm", "arm64", False),
        ("amd64", "386", True),
        ("arm64", "", False),  # podman's command does not tell
        ("", "amd64", False),
    ],
)
def test_what_an_engine_s_machine_does_not_run_itself_is_emulated(image: str, engine: str, emulated: bool) -> None:
    assert images.is_emulated(image, engine) is emulated


def test_what_is_kept_is_called_by_what_it_is() -> None:
    def kind(kind: str, name: str) -> str:
        return images.kind_of(CacheItem(kind, name, None, None, ""))

    assert kind("volume", images.volume_name("uv", "image", "amd64")) == "uv"
    assert kind("image", f"{images.BEFORE_ALL_REPOSITORY}:abc") == "before-all"
    assert kind("image", "sha256:1234") == "before-all"
    assert kind("volume", "portable-backend-other-0123456789ab") == "volume"
