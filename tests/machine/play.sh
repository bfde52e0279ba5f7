# Plays what deploy/README.md says under "Without Docker"; each line that starts with @ is compared with `expected`.
exec 2>&1
told() { echo "@ $*"; }
typed() { # NUMBER: a block of the README, but for what wants a network
  grep -v apt-get "/readme/$1.sh" >/tmp/typed.sh
  sh -ex /tmp/typed.sh
  told "typed $1: $?"
}
metric() { curl -s "127.0.0.1:${2:-9717}/metrics" | grep -E "$1"; }
app() { # NAME PORT FURTHER LINES: the unit of an app that has a user of its own, and a limit
  cat >"/etc/systemd/system/$1.service" <<UNIT
[Service]
User=shop
WorkingDirectory=/srv/shop
ExecStart=/usr/bin/gunicorn killable:app --name $1 --bind 127.0.0.1:$2 --workers 2 --timeout 10
MemoryMax=160M
$3
UNIT
}
dies() { # PORT: one worker at its timeout, one killed for memory, one crashed
  curl -s -m 60 "127.0.0.1:$1/stick-in-c?60"
  sleep 3 # without process events a worker that lives less than a second isn't seen
  curl -s -m 60 "127.0.0.1:$1/keep?300"
  sleep 3
  curl -s -m 60 "127.0.0.1:$1/signal?11"
}
causes() { # PORT: of all deaths that it tells of apps that live on
  # systemd ends the master of `stops` and its last worker at once: what is said of that one is a matter of timing.
  curl -s "127.0.0.1:$1/deaths" | python3 -c '
import json, sys
deaths = [death for death in json.load(sys.stdin)["deaths"] if death["app"] != "stops"]
print(*sorted("{app}={cause}".format(**death) for death in deaths))'
}
watched() { # PORT, APPS: waits until they are
  for app in $2; do until metric "gunicorn_worker_info.*$app" "$1" >/dev/null; do sleep 1; done; done
  sleep 5
}
master() { systemctl show -P MainPID "$1"; }

echo "kernel $(uname -r)"
cd /root/floodmark
systemctl enable --now floodmark
told "active: $(systemctl is-active floodmark) $(systemctl is-enabled floodmark)"
sudo floodmark check
app shop 8001 ''
app plain 8002 'OOMPolicy=continue'
app stops 8003 ''
systemctl daemon-reload
typed 2
systemctl start plain stops
/opt/floodmark/bin/floodmark serve --listen 127.0.0.1:9718 --statsd-listen '' 2>/tmp/root.log &
root=$!
watched 9717 "shop plain stops"
watched 9718 "shop plain stops"
master shop >/tmp/shop; master plain >/tmp/plain; master stops >/tmp/stops
dies 8001; dies 8002
curl -s -m 60 "127.0.0.1:8003/keep?300"
sleep 8
told "shop: $(systemctl is-active shop) $([ "$(cat /tmp/shop)" = "$(master shop)" ] && echo same)"
told "plain: $(systemctl is-active plain) $([ "$(cat /tmp/plain)" = "$(master plain)" ] && echo same)"
told "stops: $(systemctl is-active stops) $(systemctl show -P Result stops)"
told "as floodmark: $(causes 9717)"
told "as root: $(causes 9718)"
kill $root
told "lacking: $(metric '^floodmark_source_available.* 0' | xargs)"
told "root file system: $(metric '^node_filesystem_readonly.*mountpoint="/"' | cut -d' ' -f2)"
told "agent: $(metric '^gunicorn_requests_total.*shop' | wc -l)"
main=$(master floodmark)
told "process: $(stat -c %U /proc/$main) $(cat /proc/$main/oom_score_adj) $(grep CapEff /proc/$main/status | cut -f2) $(cat /sys/fs/cgroup/system.slice/floodmark.service/memory.max)"
kill -9 "$main"
watched 9717 "shop plain"
told "after kill -9: $(causes 9717)"

# Without NET_ADMIN, and what was found with it.
mkdir -p /etc/systemd/system/floodmark.service.d
printf '[Service]\nCapabilityBoundingSet=\nCapabilityBoundingSet=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYSLOG\nAmbientCapabilities=\nAmbientCapabilities=CAP_SYS_PTRACE CAP_DAC_READ_SEARCH CAP_SYSLOG\n' >/etc/systemd/system/floodmark.service.d/rights.conf
systemctl daemon-reload; systemctl stop floodmark; mv /var/lib/floodmark /var/lib/before; systemctl start floodmark
watched 9717 "shop plain"
dies 8002
sleep 6
told "without NET_ADMIN: $(causes 9717)"
told "lacking: $(metric '^floodmark_source_available.* 0' | sort | xargs)"
rm -r /etc/systemd/system/floodmark.service.d; systemctl daemon-reload; systemctl restart floodmark

# What it can't do to another process: the unit with another program.
cat >/tmp/write.py <<'PY'
import ctypes, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
print("@ ptrace:", libc.ptrace(16, pid, 0, 0), ctypes.get_errno())
print("@ process_vm_writev:", libc.process_vm_writev(pid, 0, 0, 0, 0, 0), ctypes.get_errno())
try:
    open(f"/proc/{pid}/mem", "r+b"); print("@ mem: open")
except OSError as error:
    print("@ mem:", error.strerror)
PY
chmod 644 /tmp/write.py
sed -e 's/^ExecStart=.*/ExecStart=\/usr\/bin\/python3 \/tmp\/write.py '"$(master plain)"'/; s/^Restart=.*//; s/^Type=.*/Type=oneshot/; s/^StateDirectory=.*//; s/^RuntimeDirectory=.*//' /etc/systemd/system/floodmark.service >/run/systemd/system/held.service
systemctl daemon-reload; systemctl start held; journalctl -u held -o cat --no-pager

typed 3
for i in $(seq 60); do curl -s 127.0.0.1:9090/api/v1/targets | grep -q '"health":"up".*"health":"up".*"health":"up"' && break; sleep 2; done
told "targets: $(curl -s 127.0.0.1:9090/api/v1/targets | grep -o '"health":"[a-z]*"' | sort | uniq -c | xargs)"
for i in $(seq 60); do curl -s 127.0.0.1:9093/api/v2/alerts | grep -q Watchdog && break; sleep 2; done
told "alerts: $(curl -s 127.0.0.1:9093/api/v2/alerts | grep -o '"alertname":"[A-Za-z]*"' | sort -u | xargs)"
told "beyond loopback: $(cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == "0A" && $2 !~ /^0100007F:/ {print $2}' | xargs)"
systemd-analyze security floodmark --no-pager | tail -1
journalctl -u floodmark -o cat --no-pager
make uninstall 2>/tmp/refused; told "with the app's drop-in: $? $(grep -o '/etc/.*' /tmp/refused)"
rm -r /etc/systemd/system/shop.service.d; systemctl daemon-reload; systemctl restart shop
make uninstall; told "uninstalled: $(ls -d /opt/floodmark /usr/local/bin/floodmark /etc/systemd/system/floodmark.service /etc/floodmark/floodmark.env /var/lib/floodmark 2>/dev/null | xargs) $(systemctl is-active floodmark)"
make uninstall; told "uninstalled twice: $?"
make uninstall PURGE=1; told "purged: $(ls -d /opt/floodmark /etc/floodmark/floodmark.env /var/lib/floodmark 2>/dev/null | xargs) $(id -un floodmark 2>/dev/null)"
