#!/usr/bin/env bash
# What the published image `debian:SUITE` holds, near enough: Debian's minimal system with apt, and no Python.
#
#   debian.sh SUITE TAG        SUITE: bullseye (glibc 2.31) | bookworm (2.36) | trixie (2.41)
#
# For what a newcomer does who begins with nothing: apt-get reaches the mirror that this machine uses.
set -euo pipefail
suite=$1 tag=$2
. "$(dirname "$0")/common.sh"
begin
require mmdebstrap=mmdebstrap /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring

TMPDIR=$work mmdebstrap --quiet --variant=apt --include=ca-certificates --dpkgopt=force-unsafe-io \
  --aptopt='APT::Install-Recommends "0"' "$suite" "$root" "$(debian_mirror)"
rm -rf "$root"/var/lib/apt/lists/*
finish "$(import_image "PIP_CERT=$bundle SSL_CERT_FILE=$bundle CARGO_HTTP_CAINFO=$bundle" LANG=C.UTF-8)"
