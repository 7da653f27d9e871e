#!/usr/bin/env bash
# Debian's CPython 3.11 of another architecture, to run under qemu-user; prints the directory that it was unpacked into.
#
#   foreign.sh ARCH [PACKAGE...]     ARCH as Debian calls it: arm64 | armhf | i386 | ppc64el | s390x | riscv64 | amd64
#   qemu-ARCH-static -L DIRECTORY DIRECTORY/usr/bin/python3.11 …
#
# Packages are resolved by apt with a configuration, state and list of architectures of its own, so that the machine's
# own is neither read nor changed, and are unpacked without their scripts: no root is needed. Half a minute; does
# nothing if it is there. bookworm is the newest release with one CPython for all; riscv64 was not in it yet (trixie).
set -euo pipefail
arch=$1
shift
suite=bookworm version=3.11 keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ "$arch" != riscv64 ] || suite=trixie version=3.13
for program in apt-get dpkg-deb; do
  command -v $program >/dev/null || { echo "making a foreign root needs $program"; exit 77; }
done
[ -e $keyring ] || { echo "making a foreign root needs $keyring (package debian-archive-keyring)"; exit 77; }

recipe=$({ cat "$0"; echo "$*"; } | sha256sum | cut -c-12)
cache=${TESTS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/portable-backend-tests}
root=$cache/foreign-$arch-$recipe
mkdir -p "$cache"
exec 9>"$root.lock"
flock 9
[ ! -d "$root" ] || { echo "$root"; exit; }
work=$(mktemp -d "$cache/.foreign.XXXXXX")
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt's own user reads there

mirror=$(awk '/^URIs:.*\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
mkdir -p "$work"/{lists/partial,archives/partial,etc,root}
: >"$work/status"
echo "deb [arch=$arch signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $suite main" >"$work/sources.list"
cat >"$work/apt.conf" <<CONF
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$work/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$work";
Dir::State::Lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::Archives "$work/archives";
CONF
export APT_CONFIG=$work/apt.conf
apt-get -qq update >&2
apt-get -qq -y --download-only install "python$version-minimal" "libpython$version-stdlib" libstdc++6 "$@" >&2
for package in "$work"/archives/*.deb; do dpkg-deb -x "$package" "$work/root"; done
ln -sf "python$version" "$work/root/usr/bin/python3"
rm -rf "$work"/root/usr/share/{doc,man,locale}
mv "$work/root" "$root"
echo "$root"
