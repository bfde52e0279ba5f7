#!/bin/sh
# `make install` and `make uninstall` call this, as root. Twice is the same as once.
#
#   /opt/floodmark                            a virtual environment; agent/ in it is for apps' PYTHONPATH
#   /usr/local/bin/floodmark                  leads there
#   /etc/systemd/system/floodmark.service     the unit
#   /etc/floodmark/floodmark.env              settings: made once, then yours
#   user floodmark, /var/lib/floodmark        its state; made by systemd, from the unit
#
# With DESTDIR files are laid out below it, for a package or an image: no user is made and nothing is started.
set -eu

: "${DESTDIR:=}" "${PYTHON:=python3}" "${PURGE:=}"
DESTDIR=${DESTDIR%/}
PATH=$PATH:/usr/sbin:/sbin # where Debian's su leaves useradd out
here=$(dirname "$(readlink -f "$0")")
home=/opt/floodmark # floodmark.service and app.conf name it too
link=/usr/local/bin/floodmark
unit=/etc/systemd/system/floodmark.service
settings=/etc/floodmark

say() { echo "floodmark: $*"; }
fail() {
  say "$*" >&2
  exit 2
}

# systemd runs if it has this folder: sd_booted(3).
running() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

install_() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "needs Python 3.11 or newer. Type: sudo make install PYTHON=python3.12 (or what you have)"
  "$PYTHON" -c 'import ensurepip' 2>/dev/null ||
    fail "needs python3-venv. Type: sudo apt-get install python3-venv"
  [ ! -e "$DESTDIR$home" ] || [ -e "$DESTDIR$home/pyvenv.cfg" ] ||
    fail "$DESTDIR$home is there and isn't floodmark's: move it away"

  # Beside the old one, and then in its place: if it can't be built, the old one is still there, whole.
  new="$DESTDIR$home.new"
  trap 'rm -rf "$new"' EXIT
  rm -rf "$new"
  umask 022
  say "installing into $DESTDIR$home"
  "$PYTHON" -m venv "$new"
  "$new/bin/python" -m pip install --quiet --disable-pip-version-check --no-cache-dir "$here/../.."
  "$new/bin/python" -m pip uninstall --quiet --yes pip setuptools 2>/dev/null
  sed -i "1s|.*|#!$home/bin/python|" "$new/bin/floodmark" # pip wrote where it was built
  (cd "$new" && ln -s lib/python3.*/site-packages/floodmark/data/agent agent)
  rm -rf "$DESTDIR$home"
  mv "$new" "$DESTDIR$home"

  install -d "$DESTDIR${link%/*}" "$DESTDIR${unit%/*}" "$DESTDIR$settings"
  ln -sfn "$home/bin/floodmark" "$DESTDIR$link"
  install -m 644 "$here/floodmark.service" "$DESTDIR$unit"
  [ -e "$DESTDIR$settings/floodmark.env" ] ||
    install -m 644 "$here/floodmark.env" "$DESTDIR$settings/"

  [ -z "$DESTDIR" ] || return 0
  id floodmark >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin floodmark
  if running; then
    systemctl daemon-reload
    systemctl enable --quiet floodmark
    systemctl restart floodmark
    sleep 1 # as long as it takes to find that its port is taken
    systemctl is-active --quiet floodmark || fail "is installed, and doesn't stay up. Why: journalctl -u floodmark -n 20"
    say "runs. What it finds here, as root sees it: sudo floodmark check"
  else
    say "installed, but not started: no systemd runs here. Where one does: systemctl enable --now floodmark"
  fi
}

uninstall() {
  # An app whose drop-in has it load the agent can't start without it, and would show that at its next restart.
  users=$(grep -ls "$home" "$DESTDIR"/etc/systemd/system/*.service.d/*.conf | grep -v "/floodmark.service.d/" || :)
  [ -z "$users" ] || fail "apps load its agent by these files: remove them, systemctl daemon-reload, restart the apps: $users"
  if running && [ -e "$unit" ]; then
    systemctl disable --quiet --now floodmark
  fi
  [ ! -e "$DESTDIR$home/pyvenv.cfg" ] || rm -rf "$DESTDIR$home"
  rm -f "$DESTDIR$link" "$DESTDIR$unit"
  if [ "$PURGE" = 1 ]; then
    rm -rf "$DESTDIR$settings/floodmark.env" "$DESTDIR/var/lib/floodmark"
    rmdir --ignore-fail-on-non-empty "$DESTDIR$settings" 2>/dev/null || :
  fi
  if running; then
    systemctl daemon-reload
  fi
  [ -z "$DESTDIR" ] || return 0
  if [ "$PURGE" = 1 ]; then
    ! id floodmark >/dev/null 2>&1 || userdel floodmark
    say "removed, with settings and state"
    [ ! -d "$settings" ] || say "left, as it isn't ours: $(find "$settings" -type f | xargs)"
  else
    say "removed. Kept: $settings, /var/lib/floodmark, the user. These too: make uninstall PURGE=1"
  fi
}

[ -n "$DESTDIR" ] || [ "$(id -u)" = 0 ] || fail "this wants root. Type: sudo make $1"
case "$1" in
install) install_ ;;
uninstall) uninstall ;;
*) fail "install or uninstall, not $1" ;;
esac
