#!/usr/bin/env bash
# A stand-in for PyPA's manylinux image of another architecture: Debian bookworm (glibc 2.36), gcc, and Debian's
# CPython 3.11 where these images have theirs. Making it runs no program of that architecture; running it does.
#
#   foreign_image.sh [ARCH [TAG]]     ARCH as Debian calls it: arm64 (the default) | armhf | ppc64el | s390x
#
# A minute; does nothing if the image is there. Needs a docker engine and apt-get, no root and no emulator.
set -euo pipefail
. "$(dirname "$0")/foreign_common.sh"
arch=${1:-arm64}
case $arch in
  arm64) machine=aarch64 engine=arm64 variant=v8 ;;
  armhf) machine=armv7l engine=arm variant=v7 ;;
  ppc64el) machine=ppc64le engine=ppc64le variant= ;;
  s390x) machine=s390x engine=s390x variant= ;;
  *) echo "no such architecture here: $arch" >&2; exit 2 ;;
esac
policy=manylinux_2_36 label=portable-backend-test.recipe
tag=${2:-portable-backend-test/${policy}_$machine:latest}
docker version >/dev/null 2>&1 || { echo "no docker engine"; exit 77; }
recipe=$(cat "$0" "$(dirname "$0")/foreign_common.sh" | sha256sum | cut -d' ' -f1)
current() { [ "$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null)" = "$recipe" ]; }
! current || { echo "$tag"; exit; }

begin "image-$arch" "$tag"
! current || { echo "$tag"; exit; } # Somebody else made it while this one waited.
use_debian bookworm "$arch"
# Packages are unpacked, their scripts are not run: what those would have done and a build needs is done below.
apt-get -qq -y --download-only install '?essential' gcc g++ libc6-dev make git ca-certificates \
  python3.11 python3.11-dev python3.11-venv >&2
unpack "$work/$arch"/archives/*.deb
cd "$work/root"
mkdir -p opt/python proc sys dev tmp root run
chmod 1777 tmp
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\n' >etc/group
[ -e bin/sh ] || ln -s dash bin/sh
for pair in cc=gcc c++=g++ awk=mawk python=python3.11 python3=python3.11; do
  ln -sf "${pair#*=}" "usr/bin/${pair%=*}"
done
ln -s /usr opt/python/cp311-cp311
site=usr/local/lib/python3.11/dist-packages
mkdir -p $site
python3 -m pip install -q --no-compile --only-binary :all: --python-version 3.11 --target $site pip build >&2
rm -rf $site/bin usr/share/{doc,man,locale}
bundle=etc/ssl/certs/ca-certificates.crt # As in the other images: for tests on this machine alone.
if [ -e /$bundle ]; then mkdir -p etc/ssl/certs && cp /$bundle $bundle; fi

tar -C "$work/root" --numeric-owner --owner=0 --group=0 -cf "$work/layer.tar" .
# An engine imports what it is given as its own architecture, so that an image is written that it can load.
python3 - "$work/layer.tar" "$tag" "$engine" "$variant" "$label=$recipe" AUDITWHEEL_POLICY=$policy \
  "AUDITWHEEL_ARCH=$machine" "AUDITWHEEL_PLAT=${policy}_$machine" LANG=C.UTF-8 "SSL_CERT_FILE=/$bundle" \
  "PIP_CERT=/$bundle" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin <<'PY' | docker load >&2
import hashlib, io, json, sys, tarfile

layer, tag, arch, variant, label, *environ = sys.argv[1:]
digest = hashlib.sha256()
with open(layer, "rb") as file:
    while piece := file.read(1 << 20):
        digest.update(piece)
image = {
    "architecture": arch,
    "os": "linux",
    "created": "2026-01-01T00:00:00Z",
    **({"variant": variant} if variant else {}),
    "config": {"Env": environ, "Cmd": ["/bin/sh"], "Labels": dict([label.split("=", 1)])},
    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest.hexdigest()}"]},
    "history": [{"created_by": "foreign_image.sh"}],
}
config = json.dumps(image).encode()
name = f"{hashlib.sha256(config).hexdigest()}.json"
manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
    for member, content in ((name, config), ("manifest.json", manifest)):
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    archive.add(layer, "layer.tar")
PY
echo "$tag"
