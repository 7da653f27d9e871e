#!/usr/bin/env bash
# Debian's rustc 1.85 with the standard library of other architectures, for tests of cross builds; prints the directory
# that it was unpacked into. Nothing but Debian's archive is needed; `cargo` of any age runs it by RUSTC=DIRECTORY/rustc.
#
#   rust.sh ARCH...        as Debian calls them: arm64 | armhf | i386 | ppc64el | s390x
#
# Twenty seconds; does nothing if it is there. No root is needed.
set -euo pipefail
. "$(dirname "$0")/foreign_common.sh"
version=1.85.0+dfsg3-1~deb12u3 short=1.85 llvm=19
[ "$(uname -m)" = x86_64 ] || { echo "the recipe is for x86_64 alone"; exit 77; }
begin rust "$@"

# fetch ARCH PACKAGE...: these packages alone, without what they depend on.
fetch() {
  use_debian bookworm "$1"
  mkdir "$work/$1/debs"
  (cd "$work/$1/debs" && apt-get -qq download "${@:2}" >&2)
  unpack "$work/$1"/debs/*.deb
}

fetch amd64 {rustc-web,libstd-rust-web-dev,libstd-rust-web-$short}="$version" libllvm$llvm
for arch; do fetch "$arch" "libstd-rust-web-dev=$version"; done
# rustc looks for its standard libraries beside itself; its own libraries have to be named.
cat >"$work/root/rustc" <<SH
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
LD_LIBRARY_PATH=\$here/usr/lib/x86_64-linux-gnu:\$here/usr/lib/llvm-$llvm/lib exec "\$here/usr/bin/rustc" "\$@"
SH
chmod 755 "$work/root/rustc"
finish
