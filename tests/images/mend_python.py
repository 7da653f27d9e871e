"""Make a CPython tell the truth about where it is and which compiler there is, after it moved into an image.

mend_python.py DIRECTORY BUILT_PREFIX PREFIX     DIRECTORY: where it is now; PREFIX: where it will be in the image
"""

from __future__ import annotations

import pprint
import re
import sys
from pathlib import Path

# The builder's own compiler and directories, and profiles that only it has.
_REPLACED = (
    (r"(?<![\w/-])(?:[\w./-]*/)?clang\+\+(?![\w-])", "g++"),
    (r"(?<![\w/-])(?:[\w./-]*/)?clang(?![\w+-])", "gcc"),
    (r"(?<![\w/-])llvm-(ar|ranlib|profdata)(?![\w-])", r"\1"),
    (r"\s*-[IL]/tools\S*|\s*-LModules/_hacl|\s*-march=x86-64(-v\d)?(?!\S)", ""),
    (r"\s*-(?:fprofile|fdebug-default|flto|Wl,-mllvm)\S*", ""),
)


def _moved(text: str, built: str, prefix: str) -> str:
    return re.sub(rf'(?<![\w.]){re.escape(built)}(?=/|\s|"|$)', prefix, text, flags=re.MULTILINE)


def _mended(value: object, built: str, prefix: str) -> object:
    if not isinstance(value, str):
        return value
    for pattern, replacement in _REPLACED:
        value = re.sub(pattern, replacement, value)
    return _moved(value, built, prefix)


def main(directory: Path, built: str, prefix: str) -> None:
    """Mend the build-time variables, the scripts and the pkg-config files."""
    for path in directory.glob("lib/python3*/_sysconfigdata*.py"):
        namespace: dict[str, dict[str, object]] = {}
        exec(path.read_text(encoding="utf-8"), namespace)
        variables = {name: _mended(value, built, prefix) for name, value in namespace["build_time_vars"].items()}
        variables.update(AR="ar", Py_ENABLE_SHARED=0)
        path.write_text(f"build_time_vars = {pprint.pformat(variables)}\n", encoding="utf-8")
    for path in [*directory.glob("bin/*"), *directory.glob("lib/pkgconfig/*.pc")]:
        content = b"\x7fELF" if path.is_symlink() else path.read_bytes()
        if not content.startswith(b"\x7fELF"):
            text = re.sub(r"\A#!.*python.*", f"#!{prefix}/bin/python3", content.decode("utf-8", "surrogateescape"))
            path.write_bytes(_moved(text, built, prefix).encode("utf-8", "surrogateescape"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4])
