# What foreign.sh and rust.sh share; they source it. Debian's packages of any architecture, without touching what this
# machine has installed: apt with a configuration, state and list of architectures of its own; unpacked, not installed.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# begin NAME ARGUMENT...: leave here if the directory is there already, or with status 77 and the reason if this machine
# cannot make it. Else $work is a fresh directory with an empty $work/root, and nobody else makes the same meanwhile.
begin() {
  local program recipe cache
  for program in apt-get dpkg-deb; do
    command -v $program >/dev/null || { echo "unpacking packages of Debian needs $program"; exit 77; }
  done
  [ -e $keyring ] || { echo "unpacking packages of Debian needs $keyring (package debian-archive-keyring)"; exit 77; }
  recipe=$({ cat "$0" "$(dirname "$0")/foreign_common.sh"; echo "$*"; } | sha256sum | cut -c-12)
  cache=${TESTS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/portable-backend-tests}
  root=$cache/$1-$recipe
  mkdir -p "$cache"
  exec 9>"$root.lock"
  flock 9
  [ ! -d "$root" ] || { echo "$root"; exit; }
  work=$(mktemp -d "$cache/.foreign.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  chmod 755 "$work"
  mkdir "$work/root"
}

# use_debian SUITE ARCH: from here on apt-get knows that release for that architecture, and nothing else.
use_debian() {
  local place=$work/$2 mirror
  mirror=$(awk '/^URIs:.*\/debian\/?$/ {print $2; exit}' /etc/apt/sources.list.d/*.sources 2>/dev/null || true)
  mkdir -p "$place"/{lists,archives}/partial
  : >"$place/status"
  echo "deb [arch=$2 signed-by=$keyring] ${mirror:-http://deb.debian.org/debian} $1 main" >"$place/sources.list"
  cat >"$place/apt.conf" <<CONF
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Install-Recommends "false";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$place/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$place";
Dir::State::Lists "$place/lists";
Dir::State::status "$place/status";
Dir::Cache "$place";
Dir::Cache::Archives "$place/archives";
CONF
  export APT_CONFIG=$place/apt.conf
  apt-get -qq update >&2
}

# unpack FILE...: packages into $work/root, without their scripts.
unpack() {
  local package
  for package; do dpkg-deb -x "$package" "$work/root"; done
}

# finish: the directory gets its name, now that it is whole.
finish() {
  local link
  # Links that start at the root would lead out of the directory, as ppc64el's loader does.
  find "$work/root" -type l -lname '/*' | while read -r link; do
    ln -sfnr "$work/root$(readlink "$link")" "$link"
  done
  rm -rf "$work"/root/usr/share/{doc,man,locale}
  mv "$work/root" "$root"
  echo "$root"
}
