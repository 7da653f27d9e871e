#!/usr/bin/env bash
# Debian's rustc 1.85 with the standard library of other architectures, for tests of cross builds; prints the directory
# that it was unpacked into. rustup's servers are not needed; `cargo` of any age runs it by RUSTC=DIRECTORY/rustc.
#
#   rust.sh ARCH...        as Debian calls them: arm64 | armhf | i386 | ppc64el | s390x
#
# Packages are fetched by apt with a configuration, state and list of architectures of its own, and are unpacked without
# their scripts. A minute; does nothing if it is there.
set -euo pipefail
version=1.85.0+dfsg3-1~deb12u3 short=1.85 llvm=libllvm19
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ "$(uname -m)" = x86_64 ] || { echo "the recipe is for x86_64 alone"; exit 77; }
for program in apt-get dpkg-deb; do
  command -v $program >/dev/null || { echo "making a foreign standard library needs $program"; exit 77; }
done
[ -e $keyring ] || { echo "needs $keyring (package debian-archive-keyring)"; exit 77; }

recipe=$({ cat "$0"; echo "$*"; } | sha256sum | cut -c-12)
cache=${TESTS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/portable-backend-tests}
root=$cache/rust-$recipe
mkdir -p "$cache"
exec 9>"$root.lock"
flock 9
[ ! -d "$root" ] || { echo "$root"; exit; }
work=$(mktemp -d "$cache/.rust.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"

# fetch ARCH PACKAGE...: these packages of Debian 12 alone, unpacked.
fetch() {
  local arch=$1 mirror place=$work/$1
  mirror=$(awk '/^URIs:.*\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  mkdir -p "$place"/{lists/partial,archives/partial,debs}
  : >"$place/status"
  echo "deb [arch=$arch signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} bookworm main" >"$place/sources.list"
  cat >"$place/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$place/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$place";
Dir::State::Lists "$place/lists";
Dir::State::status "$place/status";
Dir::Cache "$place";
Dir::Cache::Archives "$place/archives";
CONF
  (
    cd "$place/debs"
    export APT_CONFIG=$place/apt.conf
    apt-get -qq update >&2
    apt-get -qq download "${@:2}" >&2
  )
  for package in "$place"/debs/*.deb; do dpkg-deb -x "$package" "$work/root"; done
}

fetch amd64 "rustc-web=$version" "libstd-rust-web-dev=$version" "libstd-rust-web-$short=$version" $llvm
for arch; do fetch "$arch" "libstd-rust-web-dev=$version"; done
# rustc looks for its standard libraries beside itself; its own libraries have to be named.
cat >"$work/root/rustc" <<'SH'
#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/usr/lib/llvm-19/lib exec "$here/usr/bin/rustc" "$@"
SH
chmod 755 "$work/root/rustc"
mv "$work/root" "$root"
echo "$root"
