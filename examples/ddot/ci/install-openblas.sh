#!/bin/sh
# Install OpenBLAS's development files with the package manager that the image has.
set -e
if command -v dnf >/dev/null; then
  dnf install -y openblas-devel
elif command -v yum >/dev/null; then
  yum install -y openblas-devel
elif command -v apk >/dev/null; then
  apk add openblas-dev
else
  apt-get update
  apt-get install -y --no-install-recommends libopenblas-dev
fi
