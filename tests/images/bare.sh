#!/usr/bin/env bash
# A bare container image of a given age: Debian's essential packages, libstdc++ and CPython 3.11; no compiler.
#
#   bare.sh SUITE TAG        SUITE: bullseye (glibc 2.31) | bookworm (2.36) | trixie (2.41)
#
# Made from Debian's archive and the Python package index alone; nothing is pulled. The interpreter is a static build
# that runs on glibc 2.17 and newer; it travels inside a wheel. Run as root.
set -euo pipefail
suite=$1 tag=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/bare-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT

if ! command -v mmdebstrap >/dev/null; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap >/dev/null
fi
mirror=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
# libstdc++ is what every manylinux policy promises beside the C library.
mmdebstrap --quiet --variant=essential --include=libstdc++6 --dpkgopt=force-unsafe-io --aptopt='APT::Install-Recommends "0"' \
  "$suite" "$work/root" ${mirror:+"$mirror"} &
bootstrap=$!

python3 -m pip download --quiet --no-deps --only-binary :all: --platform manylinux2014_x86_64 -d "$work/wheel" \
  backend.ai-krunner-static-gnu==4.1.1
python3 - "$work/wheel" >"$work/python.tar.xz" <<'PY'
import pathlib
import shutil
import sys
import zipfile

with zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl"))) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".tar.xz") and "x86_64" in name)
    with wheel.open(name) as source:
        shutil.copyfileobj(source, sys.stdout.buffer)
PY
wait "$bootstrap"
mkdir -p "$work/root/opt/python"
tar -xJf "$work/python.tar.xz" -C "$work/root/opt/python" --exclude='*/test/*' --exclude='*/site-packages/*' \
  --exclude='*/include/*' --exclude='*.a' --exclude='*/share/*'
rm -rf "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale} "$work"/root/dev/*
tar -C "$work/root" --numeric-owner -cf - . | docker import --change 'ENV PATH=/opt/python/bin:/usr/bin:/bin' - "$tag" >/dev/null
echo "$tag"
