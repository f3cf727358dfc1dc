#!/bin/bash
# Runs in a guest: the texts of the kernel's IPVS under /proc/net for a table of every kind, with connections of every
# kind, and what ipvsadm says of the same moment. Each text follows a line `== NAME`.
set -euo pipefail
. "$(dirname "$0")/sync-network.sh"
hold a
for module in ip_vs_wlc ip_vs_sh ip_vs_mh; do modprobe "$module"; done
rules+='-A -t 192.0.2.1:443 -s sh -b sh-fallback,sh-port
-a -t 192.0.2.1:443 -r 10.2.0.4:8443 -m -w 100 -x 50 -y 20
-a -t 192.0.2.1:443 -r 10.2.0.5:443 -m -w 0
-A -t 192.0.2.1:0 -s wlc -p 7200
-a -t 192.0.2.1:0 -r 10.2.0.5:0 -g -w 1
-A -u 192.0.2.1:53 -s rr -o
-a -u 192.0.2.1:53 -r 10.2.0.5:53 -m
-A --sctp-service 192.0.2.1:5060 -s rr
-A -t 192.0.2.1:25 -s none
-A -t [2001:db8::1]:80 -s mh -p 360
-a -t [2001:db8::1]:80 -r [fd01::5]:8080 -m -w 2
-A -u [2001:db8::1]:53 -s rr -o -p 50 -M 64
-A -f 1 -s rr
-a -f 1 -r 10.2.0.5:0 -g -w 1
-A -f 4294967295 -s wlc -o -p 100 -M 255.255.0.0
-A -f 2 -6 -s rr -p 3600 -M 56
-a -f 2 -6 -r [fd01::5]:0 -i
'
ip netns exec a ipvsadm -R <<<"$rules"
ip netns exec a sysctl -qw net.ipv4.vs.sync_threshold='2 3'
ip netns exec b ipvsadm --start-daemon backup --mcast-interface lan
ip netns exec a ipvsadm --start-daemon master --mcast-interface lan
cat >client.cjs <<'CLIENT'
const { connect } = require('node:net');
const { setTimeout: sleep } = require('node:timers/promises');
const talk = async (host, port, localPort, then) => {
  const socket = connect({ host, port, localPort });
  for (let i = 0; i < 5; i++) { socket.write('x'); await new Promise((done) => socket.once('data', done)); }
  then?.(socket);
};
const udp = require('node:dgram').createSocket('udp4');
(async () => {
  await talk('10.1.0.100', 80, 40001);
  await talk('10.1.0.102', 80, 40003);
  await talk('10.1.0.102', 8080, 40004);
  await talk('fd01::100', 80, 40005);
  await talk('10.1.0.102', 80, 40006, (socket) => socket.end());
  udp.bind(40008);
  for (let i = 0; i < 3; i++) { udp.send('x', 53, '10.1.0.102'); await sleep(100); }
  await sleep(4000);
  console.log('told');
  await sleep(60000);
})();
CLIENT
ip netns exec client node client.cjs >out &
client=$!
until grep -q told out; do sleep 0.5; done
# With a sync daemon there can be no real server of the other family.
ip netns exec a ipvsadm --stop-daemon master
ip netns exec a ipvsadm -a -t 192.0.2.1:443 -r '[fd01::5]:443' -i -w 65535
show() { # director, name of the text, command
  echo "== $2"
  ip netns exec "$1" "${@:3}"
}
for name in ip_vs ip_vs_conn ip_vs_conn_sync ip_vs_stats ip_vs_stats_percpu; do show a "$name" cat "/proc/net/$name"; done
show b backup-ip_vs_conn_sync cat /proc/net/ip_vs_conn_sync
echo '== rules'
sed '/^$/d' <<<"$rules"
echo '-a -t 192.0.2.1:443 -r [fd01::5]:443 -i -w 65535'
show a listing ipvsadm -L -n
show a stats ipvsadm -L -n --stats --exact
ip netns exec a ipvsadm -Z
show a zeroed-ip_vs_stats_percpu cat /proc/net/ip_vs_stats_percpu
kill "$client"
