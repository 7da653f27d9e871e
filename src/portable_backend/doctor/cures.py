"""The command that installs a part, in the words of this machine's distribution. Pure.

Names of packages are those of the distributions' own indexes: Debian and Ubuntu, Fedora and RHEL, Alpine, openSUSE,
Arch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Optional

_INSTALL = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "alpine": "apk add",
    "suse": "zypper install",
    "arch": "pacman -S",
}
_PACKAGES: Mapping[str, Mapping[str, str]] = {
    "headers": {"debian": "python3-dev", "fedora": "python3-devel", "alpine": "python3-dev", "suse": "python3-devel"},
    "cc": {
        "debian": "gcc libc6-dev",
        "fedora": "gcc",
        "alpine": "gcc musl-dev",
        "suse": "gcc",
        "arch": "gcc",
    },
    "c++": {"debian": "g++", "fedora": "gcc-c++", "alpine": "g++ musl-dev", "suse": "gcc-c++", "arch": "gcc"},
    "docker": {"debian": "docker.io", "fedora": "moby-engine", "alpine": "docker", "suse": "docker", "arch": "docker"},
    "podman": dict.fromkeys(_INSTALL, "podman"),
    "rust": {"debian": "cargo", "fedora": "cargo", "alpine": "cargo", "suse": "cargo", "arch": "rust"},
    "qemu": {
        "debian": "qemu-user-static binfmt-support",
        "fedora": "qemu-user-static",
        "alpine": "qemu-openrc",
        "suse": "qemu-linux-user",
        "arch": "qemu-user-static qemu-user-static-binfmt",
    },
}


def parse_os_release(text: str) -> Optional[str]:
    """Which distribution's packages ``/etc/os-release`` speaks of, ``None`` for one that is not known here."""
    values = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    words = f"{values.get('ID', '')} {values.get('ID_LIKE', '')}".replace('"', "").replace("'", "").split()
    names = {"rhel": "fedora", "centos": "fedora", "ubuntu": "debian", "opensuse": "suse", "sles": "suse"}
    return next((family for word in words if (family := names.get(word, word)) in _INSTALL), None)


def install(part: str, distribution: Optional[str], otherwise: str) -> str:
    """The command that installs ``part``.

    :param otherwise: what to say where no command is known.
    """
    package = _PACKAGES[part].get(distribution or "")
    return f"{_INSTALL[distribution]} {package}" if distribution and package else otherwise


def headers(python: str, short_version: str, distribution: Optional[str]) -> str:
    """What installs the headers of an interpreter: the distribution's package for its own, else a new installation."""
    if not python.startswith("/usr/bin/"):
        return f"install Python {short_version} anew, with its headers (pyenv and uv do that)"
    if distribution == "debian":
        return f"apt-get install python{short_version}-dev"
    return install("headers", distribution, "install the development package of this Python")
