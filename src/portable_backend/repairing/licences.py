"""The licence texts that packages of the system come with, as far as they are kept where that system puts them.

Debian keeps one file a package, ``/usr/share/doc/PACKAGE/copyright`` (Debian Policy 12.5), which refers to
``/usr/share/common-licenses`` for the long ones; rpm's database marks licence files; Alpine has
``/usr/share/licenses/PACKAGE``. Nothing that is no text, and nothing from elsewhere, whatever links say.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from .packages import SYSTEM, Package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Optional

MAX_TEXT = 1 << 20
MAX_TEXTS = 64
_DOC, _COMMON, _LICENCES = "usr/share/doc", "usr/share/common-licenses", "usr/share/licenses"
_REFERENCE = re.compile(rb"/usr/share/common-licenses/([A-Za-z0-9][A-Za-z0-9.+-]*[A-Za-z0-9+])")
# What a machine-readable list of packages calls a licence is an SPDX expression on some systems and shorthand on
# others ("GPLv2+ and MIT", "BSD"). Only these short names are taken for the former; others are passed on as words.
_SPDX = frozenset(
    re.findall(
        r"\S+",
        """0BSD AFL-2.1 AGPL-3.0-only AGPL-3.0-or-later Apache-2.0 Artistic-1.0-Perl Artistic-2.0 BSD-1-Clause
    BSD-2-Clause BSD-3-Clause BSD-4-Clause BSL-1.0 CC0-1.0 CDDL-1.0 EPL-1.0 EPL-2.0 FSFAP FSFUL FSFULLR FTL
    GFDL-1.1-or-later GFDL-1.3-only GFDL-1.3-or-later GPL-1.0-only GPL-1.0-or-later GPL-2.0-only GPL-2.0-or-later
    GPL-3.0-only GPL-3.0-or-later HPND ICU IJG ISC LGPL-2.0-only LGPL-2.0-or-later LGPL-2.1-only LGPL-2.1-or-later
    LGPL-3.0-only
    LGPL-3.0-or-later Libpng MIT MIT-0 MPL-1.1 MPL-2.0 NCSA OFL-1.1 OLDAP-2.8 OpenSSL PostgreSQL PSF-2.0 Python-2.0
    Unicode-3.0 Unicode-DFS-2016 Unlicense X11 Zlib blessing bzip2-1.0.6 curl libpng-2.0 libtiff zlib-acknowledgement
    GCC-exception-2.0 GCC-exception-3.1 Bison-exception-2.2 Classpath-exception-2.0 LLVM-exception OpenSSL-exception
    Autoconf-exception-2.0 Autoconf-exception-3.0 Libtool-exception cryptsetup-OpenSSL-exception""",
    )
)


def is_spdx(licence: str) -> bool:
    """Whether words about a licence are certainly an SPDX expression."""
    words = re.findall(r"[()]|[^\s()]+", licence)
    names = [word for word in words if word not in ("(", ")", "AND", "OR", "WITH")]
    shape = " ".join("x" if word in names else word for word in words)
    known = all(name in _SPDX or re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]+", name) for name in names)
    while known and len(words) < 200 and shape != "x":
        shorter = re.sub(r"\( x \)|x (?:AND|OR|WITH) x", "x", shape, count=1)
        if shorter == shape:
            return False
        shape = shorter
    return known and shape == "x"


def read_licences(package: Package, root: Path = SYSTEM) -> dict[str, bytes]:
    """The licence texts of a package by a path of their own, made of plain characters."""
    found: dict[str, bytes] = {}
    directory = plain_name(package.name)
    for name, path in _candidates(package, root):
        if len(found) >= MAX_TEXTS:
            break
        text = _read_text(path, root)
        if text is not None:
            found[_unused(f"{directory}/{name}", found)] = text
    if package.kind == "deb":
        found.update(_common_licences(b"\n".join(found.values()), root))
    return found


def plain_name(name: str) -> str:
    """A file name's like of letters, digits and a few marks; never hidden, never a way up."""
    return re.sub(r"[^A-Za-z0-9._+-]", "_", name).lstrip(".")[:100] or "_"


def _unused(name: str, taken: dict[str, bytes]) -> str:
    folded = {each.lower() for each in taken}  # file systems that know no difference get these files, too
    return next(each for each in (name, *(f"{name}.{n}" for n in range(2, 100))) if each.lower() not in folded)


def _candidates(package: Package, root: Path) -> Iterator[tuple[str, Path]]:
    if package.kind == "deb":
        yield "copyright", root / _DOC / package.name / "copyright"
        return
    for text in sorted(package.texts):
        inside = text.partition(f"/{_LICENCES}/{package.name}/")[2] or os.path.basename(text)
        yield "/".join(map(plain_name, inside.split("/"))), root / text.lstrip("/")
    if package.texts:
        return
    for name in dict.fromkeys(filter(None, (package.name, package.origin))):
        home = root / _LICENCES / name
        for path in sorted(home.rglob("*")) if "/" not in name and home.is_dir() else ():
            yield "/".join(map(plain_name, path.relative_to(home).parts)), path


def _common_licences(texts: bytes, root: Path) -> Iterator[tuple[str, bytes]]:
    """The texts that Debian's copyright files refer to instead of repeating them."""
    for name in sorted(set(_REFERENCE.findall(texts)))[:MAX_TEXTS]:
        text = _read_text(root / _COMMON / name.decode("ascii"), root)
        if text is not None:
            yield f"common-licenses/{plain_name(name.decode('ascii'))}", text


def _read_text(path: Path, root: Path) -> Optional[bytes]:
    """A text in one of the places for such texts; ``None`` for what is none, is elsewhere, or is beyond measure."""
    try:
        real = path.resolve(strict=True)
        homes = [(root / place).resolve() for place in (_DOC, _COMMON, _LICENCES)]
        if not any(real.is_relative_to(home) for home in homes) or not real.is_file():
            return None
        with real.open("rb") as file:
            text = file.read(MAX_TEXT + 1)
    except (OSError, RuntimeError):  # resolve says RuntimeError of links in a circle before Python 3.13
        return None
    return text if text.strip() and len(text) <= MAX_TEXT and b"\0" not in text else None
