# Installs in a root file system that isn't booted; each line that starts with @ is compared with `expected`.
exec 2>&1
export HOME=/root
told() { echo "@ $*"; }
cd /root/floodmark
setpriv --reuid=4242 --clear-groups make install
told "install as another user: $?"
grep -vE 'apt-get|git clone|floodmark check' /readme/1.sh >/tmp/typed.sh
sh -ex /tmp/typed.sh || exit # what can't be installed needn't be booted
told "install: $?, $(id -un floodmark), $(stat -c '%U %a' /opt/floodmark /etc/floodmark/floodmark.env | xargs)"
useradd --system shop
