#!/bin/bash
# Runs in a guest: what a kernel master tells about connections of every kind. Prints its datagrams and its own listing:
# `datagram HEX` and the lines of /proc/net/ip_vs_conn. $1: version of the protocol, 0 or 1.
set -euo pipefail
. "$(dirname "$0")/sync-network.sh"
hold a
ip netns exec a sysctl -qw net.ipv4.vs.sync_version="$1" net.ipv4.vs.sync_threshold='2 3'
ip netns exec a ipvsadm -R <<<"$rules"
ip netns exec a ipvsadm --start-daemon master --mcast-interface lan --syncid 7
cat >listen.cjs <<'LISTEN'
const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (datagram) => console.log(`datagram ${datagram.toString('hex')}`));
socket.bind(8848, () => { socket.addMembership('224.0.0.81', '10.1.0.2'); require('node:fs').writeFileSync('listening', ''); });
LISTEN
ip netns exec b node listen.cjs &
listener=$!
until [ -e listening ]; do sleep 0.2; done
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
  await talk('10.1.0.101', 80, 40002);
  await talk('10.1.0.102', 80, 40003);
  await talk('10.1.0.102', 8080, 40004);
  await talk('fd01::100', 80, 40005);
  await talk('10.1.0.102', 80, 40006, (socket) => socket.end());
  await talk('10.1.0.102', 80, 40007, (socket) => socket.resetAndDestroy());
  udp.bind(40008);
  for (let i = 0; i < 5; i++) { udp.send('x', 53, '10.1.0.102'); await sleep(100); }
  await sleep(4000);
  console.log('told');
  await sleep(60000);
})();
CLIENT
ip netns exec client node client.cjs >out &
client=$!
until grep -q told out; do sleep 0.5; done
ip netns exec a cat /proc/net/ip_vs_conn
ip netns exec a ipvsadm -L --daemon
kill "$listener" "$client"
