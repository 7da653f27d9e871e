"""Writes the data files of ``policy`` anew from what the development environment has installed.

Three public sources, no network:

- the policy files of auditwheel (what manylinux and musllinux policies allow): ``published.py``, a
  module, since every audit needs it and bytecode is read faster than JSON;
- the symbol lists that ziglang carries for its cross compiler: ``abilists`` (every version of glibc, in the binary
  format that zig's libc-abi-tools document) and ``libc.S`` (one musl, an assembler file with preprocessor conditions):
  ``symbols.json``, with the history of musl's symbols that is written down below;
- CPython's list of its stable ABI as abi3info carries it: ``stable_abi.json``.

The same sources give the same bytes. Run as ``python update_policies.py OUTPUT_DIRECTORY``.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

Version = tuple[int, ...]
Json = dict[str, Any]

# The targets of zig whose glibc a platform tag means: hard-float on Arm, little-endian on POWER.
ZIG_TARGETS = {
    "x86_64": "x86_64-linux-gnu",
    "i686": "x86-linux-gnu",
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "ppc64le": "powerpc64le-linux-gnu",
    "s390x": "s390x-linux-gnu",
    "riscv64": "riscv64-linux-gnu",
    "loongarch64": "loongarch64-linux-gnu",
}

# glibc's sonames by zig's short names; the loader's differs by architecture and keeps its short name in the data.
# A name that two libraries have had since the same version is ascribed to the first of them in this order.
SONAMES = {
    "c": "libc.so.6",
    "m": "libm.so.6",
    "pthread": "libpthread.so.0",
    "dl": "libdl.so.2",
    "rt": "librt.so.1",
    "util": "libutil.so.1",
    "resolv": "libresolv.so.2",
    "ld": "ld",
}

# The macros that are defined while zig assembles musl's symbols for an architecture.
MUSL_MACROS = {
    "x86_64": {"PTR64", "ARCH_x86_64", "FAMILY_x86"},
    "i686": {"TIME32", "ARCH_i386", "FAMILY_x86"},
    "aarch64": {"PTR64", "ARCH_aarch64", "FAMILY_aarch64"},
    "armv7l": {"TIME32", "ARCH_arm", "FAMILY_arm"},
    "ppc64le": {"PTR64", "ARCH_powerpc64", "FAMILY_powerpc"},
    "s390x": {"PTR64", "ARCH_s390x", "FAMILY_s390x"},
    "riscv64": {"PTR64", "ARCH_riscv64", "FAMILY_riscv"},
    "loongarch64": {"PTR64", "ARCH_loongarch64", "FAMILY_loongarch"},
}

# Names that musl's loader resolves to the name without "64" since musl 1.2.4; before, they were exports. No linker
# sees them any more, but extension modules that were linked earlier, or by another toolchain, may need them.
MUSL_LOADER_ALIASES = """
    aio_cancel aio_error aio_fsync aio_read aio_return aio_suspend aio_write alphasort creat fallocate fgetpos fopen
    freopen fseeko fsetpos fstat fstatat fstatfs fstatvfs ftello ftruncate ftw getdents getrlimit glob globfree
    lio_listio lockf lseek lstat mkostemp mkostemps mkstemp mkstemps mmap nftw open openat posix_fadvise
    posix_fallocate pread preadv prlimit pwrite pwritev readdir scandir sendfile setrlimit stat statfs statvfs tmpfile
    truncate versionsort __fxstat __fxstatat __lxstat __xstat
"""


# The names that a release of musl added to those of the one before it. From 1.1.23 on that is the difference of what
# the releases export, compiled for x86_64 (for i386 from 1.1.24 to 1.2.0, which brought 32-bit machines their 64-bit
# time). What 1.1.23 exports and 1.1.0 does not is ascribed to the release whose source defines it first, which agrees
# with the release notes (WHATSNEW in musl's source) on the names that these mention. Names that zig's musl does not
# export are left out; those of releases after it are listed in full.
MUSL_SINCE: dict[str, str] = {
    "1.2.6": "__getauxval posix_getdents renameat2",
    "1.2.5": "preadv2 pwritev2 statx",
    "1.2.3": "pthread_getname_np qsort_r",
    "1.2.2": "_Fork gettid reallocarray tcgetwinsize tcsetwinsize",
    "1.2.0": """
        __adjtime64 __adjtimex_time64 __aio_suspend_time64 __clock_adjtime64 __clock_getres_time64
        __clock_gettime64 __clock_nanosleep_time64 __clock_settime64 __cnd_timedwait_time64 __ctime64
        __ctime64_r __difftime64 __dlsym_time64 __fstat_time64 __fstatat_time64 __ftime64 __futimens_time64
        __futimes_time64 __futimesat_time64 __getitimer_time64 __getrusage_time64 __gettimeofday_time64
        __gmtime64 __gmtime64_r __localtime64 __localtime64_r __lstat_time64 __lutimes_time64 __mktime64
        __mq_timedreceive_time64 __mq_timedsend_time64 __mtx_timedlock_time64 __nanosleep_time64 __ppoll_time64
        __pselect_time64 __pthread_cond_timedwait_time64 __pthread_mutex_timedlock_time64
        __pthread_rwlock_timedrdlock_time64 __pthread_rwlock_timedwrlock_time64 __pthread_timedjoin_np_time64
        __recvmmsg_time64 __sched_rr_get_interval_time64 __select_time64 __sem_timedwait_time64
        __semtimedop_time64 __setitimer_time64 __settimeofday_time64 __sigtimedwait_time64 __stat_time64
        __stime64 __thrd_sleep_time64 __time64 __timegm_time64 __timer_gettime64 __timer_settime64
        __timerfd_gettime64 __timerfd_settime64 __timespec_get_time64 __utime64 __utimensat_time64
        __utimes_time64 __wait3_time64 __wait4_time64
    """,
    "1.1.24": """
        copy_file_range posix_spawn_file_actions_addchdir_np posix_spawn_file_actions_addfchdir_np secure_getenv
    """,
    "1.1.22": "membarrier",
    "1.1.21": "name_to_handle_at open_by_handle_at",
    "1.1.20": "explicit_bzero getentropy getrandom memfd_create mlock2",
    "1.1.19": "fopencookie",
    "1.1.16": "pthread_getattr_default_np pthread_setattr_default_np pthread_setname_np",
    "1.1.15": "pthread_timedjoin_np pthread_tryjoin_np sched_getcpu",
    "1.1.13": "utmpname utmpxname",
    "1.1.7": "__flt_rounds get_avphys_pages get_nprocs get_nprocs_conf get_phys_pages",
    "1.1.6": """
        _ns_flagdata login_tty ns_get16 ns_get32 ns_initparse ns_name_uncompress ns_parserr ns_put16 ns_put32
        ns_skiprr
    """,
    "1.1.5": """
        c16rtomb c32rtomb call_once cnd_broadcast cnd_destroy cnd_init cnd_signal cnd_timedwait cnd_wait
        malloc_usable_size mbrtoc16 mbrtoc32 mtx_destroy mtx_init mtx_lock mtx_timedlock mtx_trylock mtx_unlock
        thrd_create thrd_current thrd_detach thrd_equal thrd_exit thrd_join thrd_sleep thrd_yield timespec_get
        tss_create tss_delete tss_get tss_set
    """,
    "1.1.4": """
        __isalnum_l __isalpha_l __isblank_l __iscntrl_l __isdigit_l __isgraph_l __islower_l __isprint_l
        __ispunct_l __isspace_l __isupper_l __iswalnum_l __iswalpha_l __iswblank_l __iswcntrl_l __iswdigit_l
        __iswgraph_l __iswlower_l __iswprint_l __iswpunct_l __iswspace_l __iswupper_l __iswxdigit_l __isxdigit_l
        __strcasecmp_l __strerror_l __strncasecmp_l __tolower_l __toupper_l __towctrans_l __wctrans_l ffsl ffsll
        issetugid
    """,
    "1.1.3": "__sysv_signal __xmknod __xmknodat fmtmsg recvmmsg sendmmsg",
    "1.1.2": "res_mkquery res_querydomain res_send",
    "1.1.1": "execvpe",
}

# The first release with a port, where that is not older than 1.1.0 (WHATSNEW).
MUSL_PORTS = {"aarch64": "1.1.7", "ppc64le": "1.1.15", "s390x": "1.1.16", "riscv64": "1.1.23", "loongarch64": "1.2.5"}

# The first release of Alpine Linux with a musl (its package index); older ones are not listed.
ALPINE = {"1.1.24": "3.11", "1.2.2": "3.13", "1.2.3": "3.16", "1.2.4": "3.18", "1.2.5": "3.20", "1.2.6": "3.24"}

# Where ziglang has the symbols of glibc.
GLIBC_SYMBOLS = Path("lib", "libc", "glibc", "abilists")

PUBLISHED = '''"""What published policies allow. Written by tests/tools/update_policies.py, not by hand."""

# ruff: noqa: E501
from __future__ import annotations

#: The newest glibc that ``symbols.json`` knows.
GLIBC = "{complete}"
POLICIES = {policies}
'''

# Feature macros of CPython's list that every build for Linux defines.
ON_EVERY_LINUX = {"HAVE_FORK", "PY_HAVE_THREAD_NATIVE_ID"}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Write the files into the directory that the command line names; returns the exit code.

    :raises ModuleNotFoundError: if auditwheel, ziglang or abi3info is not installed.
    :raises ValueError: if a source no longer has the shape that the compact files can express.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("output", type=Path, help="directory to write the files into")
    output: Path = parser.parse_args(arguments).output
    texts = {"published.py": published_text, "symbols.json": symbols_text, "stable_abi.json": stable_abi_text}
    for name, text in texts.items():
        (output / name).write_bytes(text().encode("ascii"))
    return 0


def published_text() -> str:
    """The content of ``published.py``."""
    directory = package_directory("auditwheel") / "policy"
    glibc = json.loads((directory / "manylinux-policy.json").read_text("utf-8"))
    musl = json.loads((directory / "musllinux-policy.json").read_text("utf-8"))
    policies = {"glibc": compact_policies(glibc, {}), "musl": compact_policies(musl, musl_sonames())}
    complete = compact_glibc(read_abilists((package_directory("ziglang") / GLIBC_SYMBOLS).read_bytes()))["complete"]
    # Nothing in there is written otherwise in Python than in JSON, but that commas may stand behind the last item too.
    literal = re.sub(r'(?<=[]"}])\n', ",\n", json.dumps(policies, indent=4, ensure_ascii=True))
    return PUBLISHED.format(complete=complete, policies=literal)


def symbols_text() -> str:
    """The content of ``symbols.json``."""
    libc = package_directory("ziglang") / "lib" / "libc"
    musl_source = (libc / "musl" / "libc.S").read_text("utf-8")
    musl_version = (libc / "musl" / "src" / "internal" / "version.h").read_text("utf-8").split('"')[1]
    return dump(
        {
            "glibc": compact_glibc(read_abilists((package_directory("ziglang") / GLIBC_SYMBOLS).read_bytes())),
            "musl": compact_musl(musl_source, musl_version),
        }
    )


def stable_abi_text() -> str:
    """The content of ``stable_abi.json``: all names by version, and those that a release build for Linux lacks."""
    from abi3info import DATAS, FUNCTIONS

    since: dict[tuple[int, int], list[str]] = defaultdict(list)
    only: dict[str, list[str]] = defaultdict(list)
    for each in (*FUNCTIONS.values(), *DATAS.values()):
        since[each.added.major, each.added.minor].append(each.symbol.name)
        if each.ifdef is not None and each.ifdef.name not in ON_EVERY_LINUX:
            only[each.ifdef.name].append(each.symbol.name)
    return dump(
        {
            "since": {f"{major}.{minor}": " ".join(sorted(names)) for (major, minor), names in sorted(since.items())},
            "only": {macro: " ".join(sorted(names)) for macro, names in sorted(only.items())},
        }
    )


def package_directory(name: str) -> Path:
    """Where an installed package keeps its files."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed", name=name)
    return Path(spec.origin).parent


def dump(value: Json) -> str:
    return json.dumps(value, indent=1, ensure_ascii=True) + "\n"


# ---- policies ----


def compact_policies(source: list[Json], sonames: dict[str, dict[str, str]]) -> Json:
    """What each policy adds to, or no longer forbids compared with, the one before it.

    :param source: the parsed policy file of auditwheel.
    :param sonames: by architecture, the names that replace a library of the file.
    """
    # In auditwheel a lower priority means a newer policy; 0 is "linux", which promises nothing.
    policies = sorted((policy for policy in source if policy["priority"]), key=lambda policy: -policy["priority"])
    names = [policy["name"].partition("_")[2].replace("_", ".") for policy in policies]
    if names != sorted(names, key=version_of):
        raise ValueError(f"policies are not in the order of their versions: {names}")
    replaced = {name for mapping in sonames.values() for name in mapping}
    libraries = [set(policy["lib_whitelist"]) - replaced for policy in policies]
    return {
        "policies": names,
        "libraries": {name: " ".join(sorted(new)) for name, new in additions(names, libraries).items()},
        "forbidden": compact_forbidden(names, [policy["blacklist"] for policy in policies]),
        "arches": {
            arch: {"libraries": " ".join(sorted(sonames.get(arch, {}).values())), **compact_arch(names, policies, arch)}
            for arch in sorted({arch for policy in policies for arch in policy["symbol_versions"]})
        },
    }


def compact_arch(names: list[str], policies: list[Json], arch: str) -> Json:
    """The policies of one architecture: the first, the last, and by namespace the versions that each one adds."""
    having = [index for index, policy in enumerate(policies) if arch in policy["symbol_versions"]]
    first, last = having[0], having[-1]
    if having != list(range(first, last + 1)):
        raise ValueError(f"{arch} is missing in a policy between {names[first]} and {names[last]}")
    versions = [policies[index]["symbol_versions"][arch] for index in having]
    if any(set(one) != set(versions[0]) for one in versions):
        raise ValueError(f"the namespaces of {arch} differ from policy to policy")
    return {
        "first": names[first],
        "last": names[last],
        "versions": {
            namespace: {
                name: " ".join(sorted(new, key=version_of))
                for name, new in additions(names[first : last + 1], [set(one[namespace]) for one in versions]).items()
            }
            for namespace in sorted(versions[0])
        },
    }


def compact_forbidden(names: list[str], blacklists: list[dict[str, list[str]]]) -> Json:
    """By library and symbol, the last policy that forbids the symbol; all policies before it do so, too."""
    return {
        library: {
            name: " ".join(sorted(gone))
            for name, gone in additions(
                names[::-1], [set(blacklist.get(library, ())) for blacklist in reversed(blacklists)]
            ).items()
        }
        for library in sorted({library for blacklist in blacklists for library in blacklist})
    }


def additions(names: list[str], sets: list[set[str]]) -> dict[str, set[str]]:
    """What each set of a growing sequence adds to the one before it, without the empty additions.

    :raises ValueError: if a set lacks what one before it has.
    """
    found: dict[str, set[str]] = {}
    before: set[str] = set()
    for name, current in zip(names, sets):
        if before - current:
            raise ValueError(f"{sorted(before - current)} vanish with policy {name}")
        if current - before:
            found[name] = current - before
        before = current
    return found


def musl_sonames() -> dict[str, dict[str, str]]:
    """By architecture, the name that auditwheel demands in the place of ``libc.so``."""
    # Imported here: the symbol lists can be regenerated without auditwheel.
    from auditwheel.architecture import Architecture
    from auditwheel.libc import Libc
    from auditwheel.policy import WheelPolicies

    source = json.loads((package_directory("auditwheel") / "policy" / "musllinux-policy.json").read_text("utf-8"))
    newest = min((policy for policy in source if policy["priority"]), key=lambda policy: policy["priority"])
    found = {}
    for arch in newest["symbol_versions"]:
        policies = WheelPolicies(libc=Libc.MUSL, arch=Architecture(arch), musl_policy=newest["name"])
        (name,) = policies.highest.whitelist - set(newest["lib_whitelist"])
        found[arch] = {"libc.so": name}
    return found


def version_of(text: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts ``2.4`` before ``2.17`` and numbers before words."""
    return tuple((not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"[._]", text))


# ---- the symbols of glibc ----


@dataclass(frozen=True)
class AbiLists:
    """All that zig's ``abilists`` say: ``symbols`` has (name, targets as a bit set, library, versions)."""

    libraries: tuple[str, ...]
    versions: tuple[Version, ...]
    targets: tuple[str, ...]
    symbols: tuple[tuple[str, int, str, tuple[Version, ...]], ...]


class Reader:
    """A position in bytes, with the primitives of the format."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def byte(self) -> int:
        self.offset += 1
        return self.data[self.offset - 1]

    def short(self) -> int:
        return self.byte() | self.byte() << 8

    def uleb128(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def string(self) -> str:
        end = self.data.index(0, self.offset)
        text = self.data[self.offset : end].decode("ascii")
        self.offset = end + 1
        return text

    def flagged(self) -> Iterator[int]:
        """Bytes up to and with the first whose top bit is set, each without that bit."""
        while True:
            byte = self.byte()
            yield byte & 0x7F
            if byte & 0x80:
                return


def read_abilists(data: bytes) -> AbiLists:
    """Parse zig's ``abilists``.

    The header lists libraries, versions and targets; then come the inclusions of functions, of objects and of
    thread-local objects, each section starting with a 16-bit count::

        name\\0 { targets:ULEB128  [size:ULEB128, not for functions]  library|last:u8  { version|last:u8 }* }*

    :raises ValueError: if bytes remain.
    """
    reader = Reader(data)
    libraries = tuple(reader.string() for _ in range(reader.byte()))
    versions = tuple((reader.byte(), reader.byte(), reader.byte()) for _ in range(reader.byte()))
    targets = tuple(reader.string() for _ in range(reader.byte()))
    symbols: list[tuple[str, int, str, tuple[Version, ...]]] = []
    for sized in (False, True, True):
        end = len(symbols) + reader.short()
        while len(symbols) < end:
            name, last = reader.string(), False
            while not last:
                members = reader.uleb128()
                if sized:
                    reader.uleb128()
                library = reader.byte()
                last = bool(library & 0x80)
                since = tuple(versions[index] for index in reader.flagged())
                symbols.append((name, members, libraries[library & 0x7F], since))
    if reader.offset != len(data):
        raise ValueError(f"{len(data) - reader.offset} bytes remain after the last symbol")
    return AbiLists(libraries, versions, targets, tuple(symbols))


def compact_glibc(lists: AbiLists) -> Json:
    """The names of all architectures, grouped by the library and the versions that they have in common."""
    order = list(SONAMES)
    oldest: dict[str, dict[str, tuple[Version, int]]] = defaultdict(dict)
    for arch, target in ZIG_TARGETS.items():
        bit = 1 << lists.targets.index(target)
        for name, members, library, versions in lists.symbols:
            if members & bit:
                candidate = (min(versions), order.index(library))
                oldest[name][arch] = min(candidate, oldest[name].get(arch, candidate))
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for name in sorted(oldest):
        for index in sorted({index for _, index in oldest[name].values()}):
            since = tuple(since_text(oldest[name].get(arch), index) for arch in ZIG_TARGETS)
            groups[SONAMES[order[index]], since].append(name)
    return {
        "complete": version_text(max(lists.versions)),
        "arches": list(ZIG_TARGETS),
        "groups": [[library, " ".join(since), " ".join(names)] for (library, since), names in sorted(groups.items())],
    }


def since_text(found: Optional[tuple[Version, int]], library: int) -> str:
    """The version in which the name is oldest, or ``-`` where the architecture has it not, or elsewhere."""
    return "-" if found is None or found[1] != library else version_text(found[0])


def version_text(version: Version) -> str:
    """``2.17`` for (2, 17, 0), as glibc names its versions."""
    return ".".join(map(str, version if version[2] else version[:2]))


# ---- the symbols of musl ----


def compact_musl(source: str, version: str) -> Json:
    """The names of all architectures, grouped by the architectures that have them (``1``) or not (``0``)."""
    newer = {name for since, names in MUSL_SINCE.items() if numbers(since) > numbers(version) for name in names.split()}
    aliases = {f"{name}64" for name in MUSL_LOADER_ALIASES.split()} | {"readdir64_r"} | newer
    names = {arch: aliases.union(musl_names(source.splitlines(), macros)) for arch, macros in MUSL_MACROS.items()}
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set().union(*names.values())):
        groups["".join(str(int(name in names[arch])) for arch in MUSL_MACROS)].append(name)
    unknown = {name for listed in MUSL_SINCE.values() for name in listed.split()}.difference(*groups.values())
    if unknown:
        raise ValueError(f"{sorted(unknown)} have a release and are not in musl {version}")
    return {
        "complete": max((version, *MUSL_SINCE), key=numbers),
        "arches": list(MUSL_MACROS),
        "ports": MUSL_PORTS,
        "alpine": ALPINE,
        "since": {
            since: " ".join(sorted(names.split())) for since, names in sorted(MUSL_SINCE.items(), key=by_release)
        },
        "groups": [[key, " ".join(members)] for key, members in sorted(groups.items())],
    }


def numbers(version: str) -> Version:
    """``(1, 2, 5)`` for ``1.2.5``."""
    return tuple(map(int, version.split(".")))


def by_release(item: tuple[str, str]) -> Version:
    return numbers(item[0])


def musl_names(lines: Iterable[str], macros: set[str]) -> Iterator[str]:
    """The labels of an assembler file that are left when ``macros`` are the defined ones.

    :raises ValueError: at a preprocessor condition of an unknown form.
    """
    active = [True]
    for line in lines:
        if line.startswith("#if"):
            active.append(active[-1] and holds(line, macros))
        elif line.startswith("#else"):
            active[-1] = active[-2] and not active[-1]
        elif line.startswith("#endif"):
            active.pop()
        elif active[-1] and line.endswith(":"):
            yield line[:-1]


def holds(line: str, macros: set[str]) -> bool:
    """Whether a ``#if`` line of the forms that zig writes is true."""
    plain = re.fullmatch(r"#ifdef (\w+)", line)
    if plain is not None:
        return plain[1] in macros
    if re.fullmatch(r"#if !defined\(\w+\)(?: && !defined\(\w+\))*", line) is None:
        raise ValueError(f"unknown condition: {line}")
    return macros.isdisjoint(re.findall(r"\w+(?=\))", line))


if __name__ == "__main__":
    raise SystemExit(main())
