#!/bin/bash
# Runs in a guest: connections by way of director a, told to director b, the virtual addresses moved there. One of the two
# is the kernel's IPVS, the other one ours. Prints what b lists (`listed TCP ... STATE [ORIGIN]`), and of each stream whether
# it goes on (`NAME: goes on`). $1: the launcher of ipvsadm; $2: kernel-to-ours or ours-to-kernel.
set -euo pipefail
launcher=$1
export HEADGATE_CONNECTIONS=4096
. "$(dirname "$0")/sync-network.sh"
kernel() { local where=$1; shift; ip netns exec "$where" ipvsadm "$@"; }
ours() { local where=$1; shift; ip netns exec "$where" "$launcher" "$@"; }
case $2 in
kernel-to-ours) master=kernel backup=ours ;;
ours-to-kernel) master=ours backup=kernel ;;
esac
$master a -R <<<"$rules"
$backup b -R <<<"$rules"
$backup b --start-daemon backup --mcast-interface inside --syncid 9
$master a --start-daemon master --mcast-interface inside --syncid 9
hold a
cat >client.cjs <<'CLIENT'
const { connect } = require('node:net');
const { existsSync } = require('node:fs');
const { setTimeout: sleep } = require('node:timers/promises');
const talk = async (socket, text) => {
  socket.write(text);
  return Promise.race([new Promise((done) => socket.once('data', (data) => done(String(data)))), sleep(30000, 'silence')]);
};
(async () => {
  const ways = [['direct-routing', '10.1.0.100', 80], ['tunnel', '10.1.0.101', 80], ['masquerade', '10.1.0.102', 80],
    ['persistent', '10.1.0.102', 8080], ['direct-routing-v6', 'fd01::100', 80]];
  const streams = ways.map(([name, host, port], i) => [name, connect({ host, port, localPort: 40001 + i })]);
  for (const [, socket] of streams) {
    socket.setNoDelay();
    socket.on('error', () => {});
    for (let i = 0; i < 4; i++) await talk(socket, 'x');
  }
  console.log('opened');
  while (!existsSync('moved')) await sleep(200);
  for (const [name, socket] of streams) console.log(`${name}: ${(await talk(socket, 'y')) === 'y' ? 'goes on' : 'is lost'}`);
  console.log('finished');
})();
CLIENT
ip netns exec client node client.cjs >out &
client=$!
until grep -q opened out; do sleep 0.5; done
sleep 3
list() {
  if [ $backup = kernel ]; then
    ip netns exec b awk 'NR > 1 { print "listed", $1, $3, $5, $8, $9 }' /proc/net/ip_vs_conn_sync | sort
  else
    ours b -Lnc | awk 'NR > 2 { print "listed", $1, $3, $4, $5, $6 }' | sort
  fi
}
list
let_go a
hold b
ip -n server neigh flush all
touch moved
until grep -q finished out; do sleep 0.5; done
grep -v opened out
# What b itself says of its real servers now.
$backup b -Ln
for where in a b; do $([ $where = a ] && echo $master || echo $backup) $where -L --daemon; done
kill $client
