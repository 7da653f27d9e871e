#!/usr/bin/env bash
# Debian's CPython 3.11 of another architecture, to run under qemu-user; prints the directory that it was unpacked into.
#
#   foreign.sh ARCH [PACKAGE...]     ARCH as Debian calls it: arm64 | armhf | i386 | ppc64el | s390x | riscv64 | amd64
#   qemu-ARCH-static -L DIRECTORY DIRECTORY/usr/bin/python3 …
#
# Ten seconds; does nothing if it is there. No root is needed. bookworm is the newest release with one CPython for all;
# riscv64 is in the next one only, with CPython 3.13.
set -euo pipefail
. "$(dirname "$0")/foreign_common.sh"
arch=$1 suite=bookworm version=3.11
[ "$arch" != riscv64 ] || suite=trixie version=3.13
begin "foreign-$arch" "${@:2}"
use_debian $suite "$arch"
apt-get -qq -y --download-only install "python$version-minimal" "libpython$version-stdlib" libstdc++6 "${@:2}" >&2
unpack "$work/$arch"/archives/*.deb
# Debian 13's packages put nothing into /lib any more, which is a link to /usr/lib there.
[ -e "$work/root/lib" ] || ln -s usr/lib "$work/root/lib"
ln -sf "python$version" "$work/root/usr/bin/python3"
finish
