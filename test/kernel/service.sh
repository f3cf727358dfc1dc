#!/bin/bash
# Runs in a guest: systemd as the first process of a container, and the unit of the daemon under it. Prints what came of
# each step, `STEP: RESULT`. $1: this project's folder.
set -euo pipefail
project=$1

# Not where it stands: a service has a /tmp, and perhaps homes, of its own.
mkdir -p /opt/headgate/node_modules /etc/headgate
cp -r "$project"/{bin,dist,bpf,package.json} /opt/headgate/
for name in @koromix $(node -p "Object.keys(require('$project/package.json').dependencies).join(' ')"); do
  cp -rL "$project/node_modules/$name" /opt/headgate/node_modules/
done
ln -sf /opt/headgate/bin/headgate.js /usr/local/bin/headgate
cp "$project/packaging/headgate.service" /etc/systemd/system/
echo HEADGATE_CONNECTIONS=4096 >/etc/default/headgate
cat >/etc/headgate/headgate.yaml <<'END'
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: rr
    method: masquerade
    realServers: [{ address: 10.0.0.1:80 }]
END

# An emulated processor takes its time to start; a hung daemon is to be found soon.
mkdir -p /etc/systemd/system/headgate.service.d
printf '[Service]\nTimeoutStartSec=300\nWatchdogSec=20\n' >/etc/systemd/system/headgate.service.d/test.conf

cat >/opt/steps.sh <<'END'
exec >>/opt/results 2>/opt/errors
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
property() { systemctl show -p "$1" --value headgate; }
rules() { headgate ipvsadm -S -n | paste -sd ' '; }
step() { local what=$1; shift; if "$@"; then echo "$what: done"; else echo "$what: failed"; fi; }

step start systemctl start headgate
echo "status: $(property StatusText)"
echo "rules: $(rules)"
echo "pins: $(ls /run/headgate/bpf/*/map_connections | wc -l)"
sed -i 's/: rr/: wlc/' /etc/headgate/headgate.yaml
step reload systemctl reload headgate
echo "rules: $(rules)"
sed -i 's/: wlc/: nonsense/' /etc/headgate/headgate.yaml
step 'reload of a mistake' systemctl reload headgate
echo "status: $(property StatusText)"
sed -i 's/: nonsense/: wlc/' /etc/headgate/headgate.yaml
step restart systemctl restart headgate
first=$(property MainPID)
kill -STOP "$first"
for _ in $(seq 90); do
  sleep 1
  if [ "$(property ActiveState)" = active ] && [ "$(property MainPID)" != "$first" ]; then break; fi
done
echo "hung: $([ "$(property MainPID)" != "$first" ] && echo restarted)"
step stop systemctl stop headgate
echo "rules: $(rules)"
echo "journal: $(journalctl -t headgate -p err -o cat | grep -c 'configuration not in force')"
systemctl --no-block exit 0
END

cat >/etc/systemd/system/steps.service <<'END'
[Unit]
After=systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/bash /opt/steps.sh
TimeoutStartSec=600
END

# What a container has no use for.
for name in udevd udev-trigger tmpfiles-setup tmpfiles-setup-dev tmpfiles-clean networkd timesyncd resolved random-seed \
  sysusers update-utmp hwdb-update journal-flush journal-catalog-update machine-id-commit firstboot pcrphase-sysinit; do
  ln -sf /dev/null "/etc/systemd/system/systemd-$name.service"
done
export container=guest
unshare --pid --mount --fork --propagation private --mount-proc --kill-child bash -c '
  umount -l /sys/fs/cgroup 2>/dev/null
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  mount -t tmpfs tmpfs /run
  exec /lib/systemd/systemd --system --unit=steps.service --log-target=console' >/opt/console 2>&1 || true
cat /opt/results
echo '--'
cat /opt/errors
tail -n 40 /opt/console
