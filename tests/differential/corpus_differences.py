"""Every difference between our verdicts and auditwheel 6.8's on the corpus, and every claim that we call untrue.

Each has its reason and who is right. A difference that is not listed fails the tests, and so does one that is listed
and gone.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """Two verdicts on one wheel, and which one is true.

    :param theirs: auditwheel's policy; ``error`` where it gives none.
    :param right: ``ours``, ``theirs`` or ``both``.
    """

    ours: str
    theirs: str
    reason: str
    right: str


OLDER_MUSL = (
    "auditwheel off a musl machine knows the newest policy for musl only; symbols bear no versions there, so nothing "
    "contradicts the older tag that the wheel claims"
)
LIBC_SO = (
    "needs libc.so, which musl's loader takes for itself; auditwheel opens the file of that name on the machine that "
    "asks, here a script for the linker of glibc, and gives up with a traceback"
)
PURELIB = (
    "auditwheel judges no wheel that has native code in purelib; installers put it where it loads all the same, so "
    "under a platform tag that is a warning"
)
PEP_600 = "no list of policies has this tag, and by PEP 600 it needs none; the executable in it is static"
NATIVE_ANY = "a wheel for any machine with native code among pure Python: no platform tag makes that right"
RECORD = "RECORD gives another size of WHEEL than it has; auditwheel does not get that far (native code in purelib)"


def _older(arch: str) -> Difference:
    return Difference(f"musllinux_1_1_{arch}", f"musllinux_1_2_{arch}", OLDER_MUSL, "ours")


SEMGREP = "semgrep-1.185.0-cp310.cp311.cp312.cp313.cp314.py310.py311.py312.py313.py314-none-musllinux_1_2_aarch64.whl"

#: File → both verdicts.
DIFFERENCES = {
    "bcrypt-5.0.0-cp39-abi3-musllinux_1_1_x86_64.whl": _older("x86_64"),
    "debugpy-1.0.0-cp27-cp27mu-manylinux1_i686.whl": Difference("manylinux_2_5_i686", "error", PURELIB, "ours"),
    "debugpy-1.8.22-py2.py3-none-any.whl": Difference("linux_x86_64", "manylinux_2_34_x86_64", NATIVE_ANY, "ours"),
    "go_task_bin-3.54.0-py3-none-manylinux_2_28_riscv64.musllinux_1_2_riscv64.whl": Difference(
        "manylinux_2_28_riscv64", "manylinux_2_31_riscv64", PEP_600, "ours"
    ),
    "onnxruntime-0.1.4-cp36-cp36m-manylinux1_x86_64.whl": Difference("linux_x86_64", "error", RECORD, "ours"),
    "pydantic_core-2.50.4-cp314-cp314t-musllinux_1_1_armv7l.whl": Difference(
        "musllinux_1_1_armv7l", "error", LIBC_SO, "ours"
    ),
    "pydantic_core-2.50.4-pp311-pypy311_pp73-musllinux_1_1_x86_64.whl": Difference(
        "musllinux_1_1_x86_64", "error", LIBC_SO, "ours"
    ),
    "pyinstaller-6.22.3-py3-none-musllinux_1_1_x86_64.whl": _older("x86_64"),
    SEMGREP: Difference("musllinux_1_2_aarch64", "error", PURELIB, "ours"),
    "tensorflow-0.12.0-cp34-cp34m-manylinux1_x86_64.whl": Difference("manylinux_2_17_x86_64", "error", PURELIB, "ours"),
    "tensorflow-1.0.0-cp27-cp27mu-manylinux1_x86_64.whl": Difference("manylinux_2_17_x86_64", "error", PURELIB, "ours"),
    "tokenizers-0.23.3-cp310-abi3-musllinux_1_2_armv7l.whl": Difference(
        "musllinux_1_2_armv7l", "error", LIBC_SO, "ours"
    ),
    "tree_sitter_languages-1.10.2-cp312-cp312-musllinux_1_1_i686.whl": _older("i686"),
    "uv-0.13.9-py3-none-musllinux_1_1_i686.whl": _older("i686"),
}

MEMCPY = "needs symbol versions of a newer glibc than it claims; auditwheel says the same"
GOMP = "needs libgomp, which no policy promises (left out on purpose); auditwheel says the same"

#: File → why a tag in its name is not true, besides those in DIFFERENCES. Each was looked at by hand.
UNTRUE = {
    **{file: each.reason for file, each in DIFFERENCES.items() if each.reason in (NATIVE_ANY, RECORD)},
    "tensorflow-0.12.0-cp34-cp34m-manylinux1_x86_64.whl": MEMCPY.partition(";")[0],
    "tensorflow-1.0.0-cp27-cp27mu-manylinux1_x86_64.whl": MEMCPY.partition(";")[0],
    "sqlite_vec-0.1.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.manylinux1_x86_64.whl": MEMCPY,
    "orjson-2.0.11-cp36-cp36m-manylinux1_x86_64.whl": MEMCPY,
    "libclang-18.1.1-py2.py3-none-manylinux2014_armv7l.whl": MEMCPY,
    "playwright-1.65.2-py3-none-manylinux1_x86_64.whl": MEMCPY,
    "lightgbm-2.0.11-py2.py3-none-manylinux1_x86_64.whl": GOMP,
    "lightgbm-4.7.0-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl": GOMP,
    "lightgbm-4.7.0-py3-none-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl": GOMP,
    "xgboost-0.90-py2.py3-none-manylinux1_x86_64.whl": GOMP,
    "numba-0.68.1-cp313-cp313-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl": (
        "needs libgomp.so.1.0.0 and libtbb.so.12 for two of its three thread layers (left out on purpose); auditwheel "
        "says the same"
    ),
    "tbb-2023.2.0-py2.py3-none-manylinux_2_28_x86_64.whl": (
        "libtbbbind needs libhwloc, which is in other projects' wheels; auditwheel says the same"
    ),
    "torch-2.15.0-cp311-cp311-manylinux_2_28_x86_64.whl": (
        "needs CUDA's libraries, which are in other projects' wheels; its libgfortran needs a missing libquadmath"
    ),
    "triton-3.9.0-cp312-abi3-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl": (
        "three plugins need libtriton by an rpath of the machine that built them; they load where libtriton is already"
    ),
    "pyside6_essentials-6.12.0-cp310-abi3-manylinux_2_34_x86_64.whl": (
        "needs libEGL, libdbus, libxkbcommon and others of the desktop (left out on purpose), and is marked x86-64-v2"
    ),
    "psycopg2-2.7.4-cp34-cp34m-manylinux1_i686.whl": (
        "needs libcrypt.so.1, which PEP 513 promised and distributions dropped; auditwheel says the same"
    ),
    "kaleido-0.2.1-py2.py3-none-manylinux1_x86_64.whl": (
        "needs libraries in its own lib directory without an rpath: a shell script in the wheel sets LD_LIBRARY_PATH"
    ),
}

#: (File, member, start of the difference) → why our facts and those of pyelftools or readelf differ.
ELF_DIFFERENCES: dict[tuple[str, str, str], str] = {}
