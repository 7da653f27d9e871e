#!/usr/bin/env bash
# CPython 3.11 of any architecture with musl, to run under qemu-user; prints the directory that it was put into.
#
#   PYTHON=python3.11 musl_python.sh ARCH     as Debian calls it: amd64 | arm64 | armhf | i386 | ppc64el | s390x | riscv64
#   qemu-ARCH-static -L DIRECTORY DIRECTORY/usr/bin/python3 …
#
# Debian has musl for other architectures and no Python for it, so it is compiled here by zig, from Debian's source:
# the interpreter, and built into it the few extension modules that tests need. Two minutes on two cores; does nothing
# if it is there. PYTHON has to be of the same version and to have zig (the package ziglang). No root is needed.
set -euo pipefail
. "$(dirname "$0")/foreign_common.sh"
arch=$1 suite=bookworm version=3.11 python=${PYTHON:-python3}
[ "$arch" != riscv64 ] || suite=trixie
[ "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = $version ] ||
  { echo "the recipe needs a Python $version to build with, and $python is another"; exit 77; }
zig=$("$python" -c 'import os, ziglang; print(os.path.dirname(ziglang.__file__))' 2>/dev/null)/zig ||
  { echo "the recipe needs zig (the package ziglang)"; exit 77; }
command -v make >/dev/null || { echo "the recipe needs make"; exit 77; }
case $arch in
  amd64) cpu=x86_64 abi=musl ;;
  arm64) cpu=aarch64 abi=musl ;;
  armhf) cpu=arm abi=musleabihf ;;
  i386) cpu=x86 abi=musl ;;
  ppc64el) cpu=powerpc64le abi=musl ;;
  s390x | riscv64) cpu=$arch abi=musl ;;
  *) echo "unknown architecture $arch" >&2 && exit 2 ;;
esac
gnu=$cpu
[ $arch != i386 ] || gnu=i686
[ $arch != armhf ] || gnu=armv7l
begin "musl-$arch"

use_debian $suite "$arch"
(cd "$work" && apt-get -qq download musl >&2)
unpack "$work"/musl_*.deb
# Debian 13's packages put nothing into /lib any more, which is a link to /usr/lib there.
[ -e "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
use_debian bookworm source
sed -i "s/^deb \[[^]]*\]/deb-src [signed-by=${keyring//\//\\/}]/" "$work/source/sources.list"
apt-get -qq update >&2
(cd "$work" && apt-get -qq source --download-only python$version >/dev/null)
mkdir "$work/python" "$work/build"
tar -xf "$work"/python${version}_*.orig.tar.* -C "$work/python" --strip-components=1

cd "$work/build"
# Debian's musl is 1.2.3, zig's 1.2.5; the functions named are in the latter only. Date and time are refused by zig.
# -fPIC: all of musl's variables have one address in what zig links with, which copy relocations would make true.
cc="$zig cc -target $cpu-linux-$abi -fPIC -fno-sanitize=all -Wno-date-time -Wno-error=date-time"
CC=$cc AR="$zig ar" RANLIB="$zig ranlib" OPT="-DNDEBUG -fwrapv -O1" LDFLAGS=-s READELF=$(command -v readelf || echo true) \
  "$work/python/configure" -q --host="$gnu-linux-$abi" --build="$(uname -m)-pc-linux-gnu" \
  --with-build-python="$(command -v "$python")" --prefix=/usr --disable-test-modules --without-ensurepip --disable-ipv6 \
  ac_cv_file__dev_ptmx=no ac_cv_file__dev_ptc=no ac_cv_func_preadv2=no ac_cv_func_pwritev2=no ac_cv_func_statx=no \
  >"$work/log" 2>&1 || { tail -20 "$work/log" >&2; exit 1; }
{
  echo '*static*'
  printf '%s\n' '_struct _struct.c' 'array arraymodule.c' 'math mathmodule.c' '_random _randommodule.c' \
    '_bisect _bisectmodule.c' '_heapq _heapqmodule.c' '_datetime _datetimemodule.c' '_json _json.c' \
    '_contextvars _contextvarsmodule.c' 'select selectmodule.c' 'fcntl fcntlmodule.c' 'unicodedata unicodedata.c' \
    '_posixsubprocess _posixsubprocess.c'
} >Modules/Setup.local
# Without -dynamic zig links musl statically, and nothing could be imported.
make -s -j"$(nproc)" LINKCC="$cc -dynamic -pie" python pybuilddir.txt >"$work/log" 2>&1 ||
  { tail -20 "$work/log" >&2; exit 1; }

lib=$work/root/usr/lib/python$version
mkdir -p "$work/root/usr/bin" "$work/root/usr/include/python$version" "$lib/lib-dynload"
cp python "$work/root/usr/bin/python3"
cp pyconfig.h "$work/root/usr/include/python$version"
(cd "$work/python/Lib" && tar -cf - --exclude=test --exclude=idlelib --exclude=tkinter --exclude=ensurepip .) |
  tar -xf - -C "$lib"
cp "$(cat pybuilddir.txt)"/_sysconfigdata_*.py "$lib"
finish
