#!/usr/bin/env bash
# A bare container image of a given age: Debian's essential packages, libstdc++ and CPython 3.11; no compiler.
#
#   bare.sh SUITE TAG        SUITE: bullseye (glibc 2.31) | bookworm (2.36) | trixie (2.41)
#
# Made from Debian's archive and the Python package index alone; nothing is pulled. The interpreter is a static build
# that runs on glibc 2.17 and newer; it travels inside a wheel. Run as root; does nothing if the image is there.
set -euo pipefail
suite=$1 tag=$2
. "$(dirname "$0")/common.sh"
begin
require mmdebstrap=mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

python_tree backend.ai-krunner-static-gnu 4.1.1 f20f88c453650d369bf681178e7ba801dc0f5946820de2cbcc73f60d794b6dc4 \
  manylinux2014_x86_64 "$work/python" &
fetching=$!
# libstdc++ is what every manylinux policy promises beside the C library.
TMPDIR=$work mmdebstrap --quiet --variant=essential --include=libstdc++6 --dpkgopt=force-unsafe-io \
  --aptopt='APT::Install-Recommends "0"' "$suite" "$root" "$(debian_mirror)"
wait $fetching
rm -rf "$work/python/include" "$root"/var/lib/apt/lists/*
mkdir "$root/opt/python"
mv "$work"/python/* "$root/opt/python"
finish "$(import_image PATH=/opt/python/bin:/usr/bin:/bin)"
