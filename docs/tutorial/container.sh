#!/usr/bin/env bash
# The tutorial in a container that has nothing but Debian: from a copy of this repository to three wheels.
#
#   docs/tutorial/container.sh [IMAGE] [c] [cpp] [rust]      (default: debian:trixie, all three)
#
# Needs docker. Inside, what a newcomer would install by hand comes first: Python with its headers, and cargo. Debian's
# cargo brings a C compiler along; it is taken away again, so that nothing can have used it.
set -euo pipefail
cd "$(dirname "$0")/../.."
image=${1:-debian:trixie}
docker run --rm --interactive --volume "$PWD:/repository:ro" "$image" bash -euo pipefail -s "${@:2}" <<'END'
export DEBIAN_FRONTEND=noninteractive
quietly() { "$@" >/tmp/said 2>&1 || { cat /tmp/said; exit 1; }; }
quietly apt-get update
quietly apt-get install -y --no-install-recommends ca-certificates cargo python3-dev python3-pip python3-venv
rm -f /usr/bin/*gcc* /usr/bin/*g++* /usr/bin/*-ld* /usr/bin/ld* /usr/bin/cc /usr/bin/c++ /usr/bin/c[0-9]9*
! command -v cc gcc c++ g++ clang ld || exit 1
exec /repository/docs/tutorial/run.sh "$@"
END
