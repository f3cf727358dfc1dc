#!/bin/bash
# Runs in a guest: streams, datagrams and short connections by way of director a, whose traffic moves from the kernel's IPVS to
# ebpf and back meanwhile, by a command and once more by a daemon. Prints what the commands say, what each side has, and what the
# client saw. $1: the folder of the launchers.
set -euo pipefail
launchers=$1
scripts=$(cd "$(dirname "$0")" && pwd)
export HEADGATE_CONNECTIONS=4096
echo 'install ip_vs /bin/false' >/etc/modprobe.d/none.conf
"$launchers/headgate.js" migrate ipvs-to-ebpf 2>&1 | sed 's/^/without: /' || true
for command in 'sync send --interface lo' 'import --from kernel'; do
  "$launchers/headgate.js" $command 2>&1 | sed 's/^/without a table: /' || true
done
rm /etc/modprobe.d/none.conf
. "$(dirname "$0")/sync-network.sh"
modprobe ip_vs_ftp ports=21,2121
modprobe sctp
kernel() { ip netns exec a ipvsadm "$@"; }
ours() { ip netns exec a "$launchers/headgate.js" "$@"; }

# b is a second real server beside the one there is.
ip netns exec b sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=0 \
  net.ipv4.conf.tunl0.rp_filter=0
ip -n b addr add 10.1.0.100/32 dev lo
ip -n b link set tunl0 up
ip -n b addr add 10.1.0.101/32 dev tunl0
ip -n b addr add fd01::100/128 dev lo nodad
number=1
for name in a b client server; do
  [ "$name" = client ] || ip -n "$name" addr add "fd02::$number/64" dev inside nodad
  number=$((number + 1))
done
for name in b server; do
  own=$(ip -n "$name" -6 -br addr show dev inside scope global | awk '{sub("/.*", "", $3); print $3}')
  ip -n "$name" -6 rule add from "$own" lookup 100
  ip -n "$name" -6 route add default via fd02::1 table 100
  ip -n "$name" rule add from "$(ip -n "$name" -4 -br addr show dev inside | awk '{sub("/.*", "", $3); print $3}')" lookup 100 || true
  ip -n "$name" route replace default via 10.2.0.1 table 100
done
cat >named.cjs <<'SERVER'
const { createServer } = require('node:net');
const name = process.argv[2];
const udp = require('node:dgram').createSocket('udp4');
let open = 4;
const ready = () => --open || require('node:fs').writeFileSync(`ready-${name}`, '');
for (const port of [80, 8080, 2100])
  createServer((socket) => {
    socket.on('error', () => {}).setNoDelay();
    socket.on('data', (data) => socket.write(`${name} ${data}`));
  }).listen(port, '::', ready);
udp.on('message', (text, { address, port }) => udp.send(`${name} ${text}`, port, address));
udp.bind(5301, ready);
SERVER
kill $server
for name in b:10.2.0.2 server:10.2.0.4; do
  ip netns exec "${name%:*}" node named.cjs "${name%:*}" & echo $! >>servers
  ip netns exec "${name%:*}" perl "$scripts/sctp-echo.pl" serve "${name#*:}" 8132 "${name%:*}" "sctp-${name%:*}" & echo $! >>servers
done
trap 'kill $(cat servers)' EXIT
for ready in ready-b ready-server sctp-b sctp-server; do until [ -e $ready ]; do sleep 0.2; done; done
for vip in $vip4s 10.1.0.103; do ip -n a addr add "$vip/32" dev lan; done
for vip in $vip6s fd01::102; do ip -n a addr add "$vip/128" dev lan nodad; done
ip netns exec a nft -f - <<'RULES'
table inet marks {
  chain in {
    type filter hook prerouting priority mangle;
    ip daddr 10.1.0.103 tcp dport 80 meta mark set 7
    ip daddr 10.1.0.103 tcp dport { 8080, 2100 } meta mark set 8
  }
}
RULES
ip netns exec a ipvsadm -R <<'RULES'
-A -t 10.1.0.100:80 -s rr
-a -t 10.1.0.100:80 -r 10.1.0.4:80 -g
-a -t 10.1.0.100:80 -r 10.1.0.2:80 -g
-A -t 10.1.0.101:80 -s wrr
-a -t 10.1.0.101:80 -r 10.1.0.4:80 -i
-a -t 10.1.0.101:80 -r 10.1.0.2:80 -i -w 2
-A -t 10.1.0.102:80 -s rr
-a -t 10.1.0.102:80 -r 10.2.0.4:80 -m
-a -t 10.1.0.102:80 -r 10.2.0.2:80 -m
-A -t 10.1.0.102:8080 -s rr -p 300 -M 255.255.255.0
-a -t 10.1.0.102:8080 -r 10.2.0.4:8080 -m
-a -t 10.1.0.102:8080 -r 10.2.0.2:8080 -m
-A -t 10.1.0.102:21 -s rr
-a -t 10.1.0.102:21 -r 10.2.0.4:2100 -m
-a -t 10.1.0.102:21 -r 10.2.0.2:2100 -m
-A -u 10.1.0.102:53 -s rr
-a -u 10.1.0.102:53 -r 10.2.0.4:5301 -m
-a -u 10.1.0.102:53 -r 10.2.0.2:5301 -m
-A -u 10.1.0.102:5060 -s rr -o -p 300 --pe sip
-a -u 10.1.0.102:5060 -r 10.2.0.4:5301 -m
-a -u 10.1.0.102:5060 -r 10.2.0.2:5301 -m
-A --sctp-service 10.1.0.102:80 -s rr
-a --sctp-service 10.1.0.102:80 -r 10.2.0.4:8132 -m
-a --sctp-service 10.1.0.102:80 -r 10.2.0.2:8132 -m
-A -f 7 -s rr
-a -f 7 -r 10.2.0.4:80 -m
-a -f 7 -r 10.2.0.2:80 -m
-A -f 8 -s rr -p 300
-a -f 8 -r 10.2.0.4:8080 -m
-a -f 8 -r 10.2.0.2:8080 -m
-A -t [fd01::100]:80 -s rr
-a -t [fd01::100]:80 -r [fd01::4]:80 -g
-a -t [fd01::100]:80 -r [fd01::2]:80 -g
-A -t [fd01::102]:80 -s rr
-a -t [fd01::102]:80 -r [fd02::4]:80 -m
-a -t [fd01::102]:80 -r [fd02::2]:80 -m
-A -t [fd01::102]:8080 -s rr -p 300 -M 64
-a -t [fd01::102]:8080 -r [fd02::4]:8080 -m
-a -t [fd01::102]:8080 -r [fd02::2]:8080 -m
RULES

cat >client.cjs <<'CLIENT'
const { connect } = require('node:net');
const { existsSync, writeFileSync, renameSync } = require('node:fs');
const dgram = require('node:dgram');
const { setTimeout: sleep } = require('node:timers/promises');
const ways = [['direct-routing', '10.1.0.100', 80], ['tunnel', '10.1.0.101', 80], ['masquerade', '10.1.0.102', 80],
  ['masquerade-2', '10.1.0.102', 80], ['persistent', '10.1.0.102', 8080], ['ftp', '10.1.0.102', 21],
  ['mark', '10.1.0.103', 80], ['mark-port', '10.1.0.103', 2100], ['ipv6-direct', 'fd01::100', 80], ['ipv6-masquerade', 'fd01::102', 80]];
const often = [['short-masquerade', '10.1.0.102', 80], ['short-direct', '10.1.0.100', 80], ['short-mark', '10.1.0.103', 80],
  ['short-ipv6', 'fd01::102', 80], ['kept', '10.1.0.102', 8080], ['kept-mark', '10.1.0.103', 8080], ['kept-ipv6', 'fd01::102', 8080]];
// Each of them is heard of often enough for every step, and all together leave the processor to the commands.
const pauseMs = 400;
const seen = {};
const said = (name, text) => {
  const one = (seen[name] ??= { answers: 0, servers: new Set(), trouble: [] });
  if (text === undefined) return one;
  one.answers++;
  one.servers.add(text.split(' ')[0]);
  return one;
};
let ending = false;
const answerOf = (socket, text) =>
  new Promise((done) => {
    const end = (value) => { socket.off('data', heard).off('error', failed).off('close', closed); done(value); };
    const heard = (data) => end(String(data));
    const failed = (error) => end(error);
    const closed = () => end(new Error('closed'));
    socket.on('data', heard).on('error', failed).on('close', closed);
    if (text !== undefined) socket.write(text);
  });
const stream = async ([name, host, port], i) => {
  const socket = connect({ host, port, localPort: 40001 + i });
  socket.setNoDelay();
  for (let n = 0; !ending; n++) {
    const got = await answerOf(socket, `${n}`);
    if (got instanceof Error || !got.endsWith(` ${n}`)) { said(name).trouble.push(String(got)); break; }
    said(name, got);
    await sleep(pauseMs);
  }
  socket.on('error', () => {}).destroy();
};
const datagrams = async () => {
  const socket = dgram.createSocket('udp4').bind(40020);
  socket.on('message', (text) => said('datagrams', String(text)));
  for (let n = 0; !ending; n++) { socket.send(`${n}`, 53, '10.1.0.102'); await sleep(pauseMs); }
  socket.close();
};
// Each from a port of its own: it is the call that persistence goes by.
const call = async () => {
  while (!ending) {
    const socket = dgram.createSocket('udp4');
    socket.on('message', (text) => said('kept-call', String(text)));
    socket.send('OPTIONS sip:pbx SIP/2.0\r\nCall-ID: one@client\r\n\r\n', 5060, '10.1.0.102');
    await sleep(pauseMs);
    socket.close();
  }
};
const short = async ([name, host, port]) => {
  while (!ending) {
    const socket = connect({ host, port });
    const got = await answerOf(socket, 'x');
    if (got instanceof Error) said(name).trouble.push(String(got)); else said(name, got);
    // One of them leaves connections in TIME_WAIT; those of all would take minutes of the guest's processor.
    if (name === 'short-mark') socket.on('error', () => {}).destroy(); else socket.resetAndDestroy();
    await sleep(pauseMs);
  }
};
(async () => {
  for (const [name] of [...ways, ['datagrams'], ['kept-call'], ...often]) said(name);
  const work = [...ways.map(stream), datagrams(), call(), ...often.map(short)];
  let goal = 0;
  const waiting = () =>
    Object.entries(seen).filter(([, one]) => one.trouble.length === 0 && one.answers < (one.from ?? 0) + 3);
  process.on('SIGUSR2', () => console.log(`client: waits for ${waiting().map(([name]) => name).join(', ')}`));
  // A number in the file `wanted`: as many answers more of each, and then the same number stands in `reached`.
  for (let reached = 0; !existsSync('end'); ) {
    await sleep(50);
    const wanted = existsSync('wanted') ? Number(require('node:fs').readFileSync('wanted', 'utf8')) : 0;
    if (wanted > reached && goal === 0) goal = 1, Object.values(seen).forEach((one) => { one.from = one.answers; });
    if (goal && waiting().length === 0) {
      [goal, reached] = [0, wanted];
      writeFileSync('reached.new', String(reached));
      renameSync('reached.new', 'reached');
    }
  }
  ending = true;
  await Promise.race([Promise.all(work), sleep(20000)]);
  for (const [name, { answers, servers, trouble }] of Object.entries(seen))
    console.log(`client: ${name} ${[...servers].sort().join('+')} ${trouble.length === 0 ? 'whole' : `broken after ${answers}: ${trouble.slice(0, 3)}`}`);
  process.exit();
})();
CLIENT
ip netns exec client node client.cjs >out 2>&1 &
client=$!
echo 0 >sctp-answers
ip netns exec client perl "$scripts/sctp-echo.pl" ask 10.1.0.3 40030 10.1.0.102 80 >out-sctp 2>&1 &
associated=$!
passed() { # number: everything has had some answers more
  local from=$(cat sctp-answers)
  echo "$1" >wanted.new && mv wanted.new wanted
  local until=$((SECONDS + 240))
  while ((SECONDS < until)); do
    [ "$(cat reached 2>/dev/null)" = "$1" ] && break
    sleep 0.3
    kill -0 $client
  done
  # One that is broken says so at the end.
  while [ "$(cat sctp-answers)" -lt $((from + 3)) ] && kill -0 $associated 2>/dev/null; do sleep 0.3; done
  [ "$(cat reached 2>/dev/null)" = "$1" ] && return
  echo "step $1: not everything has answers"
  kill -USR2 $client
  sleep 2
  cat out
  exit 1
}
passed 1
kernel -Sn | sort | sed 's/^/kernel before: /'
ours import --from kernel 2>/dev/null >imported
sed 's/^/import: /' imported
kernel -A -t 10.1.0.102:99 -s mh
ours migrate ipvs-to-ebpf 2>&1 | sed -e 's/^ *next: //' -e 's/^ */plan: /' || true
HEADGATE_MH_TAB_INDEX=13 ours migrate ipvs-to-ebpf 2>/dev/null | sed 's/^ */mh: /' || true
kernel -D -t 10.1.0.102:99
# One that is killed before it is through: both go on, and the next one ends it.
ip netns exec a "$launchers/headgate.js" migrate ipvs-to-ebpf --yes >/dev/null &
moving=$!
until ip -n a link show hg0 >/dev/null 2>&1; do sleep 0.2; done
kill -9 $moving
ours ipvsadm -Ln 2>&1 | sed 's/^/cut: /' || true
passed 2
ours migrate ipvs-to-ebpf --yes -o json | sed 's/^/to ebpf: /'
until [ -z "$(ip netns exec a awk '$5 != "0015" && $8 == "ESTABLISHED"' /proc/net/ip_vs_conn)" ]; do sleep 0.5; done
kernel -Sn | sort | sed 's/^/kernel then: /'
ours ipvsadm -Sn | sort | sed 's/^/ours: /'
ours sysctl ftp_ports | sed 's/^/ours has /'
ours migrate ipvs-to-ebpf --yes | sed 's/^/again: /'
passed 3
ours migrate ebpf-to-ipvs --yes -o json | sed 's/^/to ipvs: /'
passed 4
kernel -Sn | sort | sed 's/^/kernel after: /'
ours migrate ebpf-to-ipvs | sed 's/^/again: /'
ip -n a link show hg0 2>&1 | sed 's/^/pair: /' || true

# The same by the daemon that has the table. What it takes from its file comes from the kernel's table.
{ echo 'dataPlane: ipvs'; cat imported; } >headgate.yaml
ip netns exec a "$launchers/headgate.js" run headgate.yaml 2>daemon.log &
daemon=$!
logged() { until grep -q "$1" daemon.log; do sleep 0.2; kill -0 $daemon; done; }
logged 'info running'
ours migrate ipvs-to-ebpf --yes 2>&1 | sed -e "s,$work/,," -e 's/^ */not agreed: /' || true
sed -i 's/^dataPlane: .*/dataPlane: ebpf/' headgate.yaml
logged 'stays as it is.*configured=ebpf'
ours drain 10.1.0.101:80/10.1.0.2:80 --reason moved --timeout 1s >/dev/null 2>&1 || true
# One that fails half-way: what it had made goes again.
ip -n a link add hg1 type bridge
ours migrate ipvs-to-ebpf --yes -o json 2>&1 | sed 's/^/failed to ebpf: /' || true
ip -n a link del hg1
passed 5
ours migrate ipvs-to-ebpf --yes -o json | sed 's/^/daemon to ebpf: /'
passed 6
ours status | sed -n 's/^data plane */status: /p'
ours ipvsadm -Sn | sort | sed 's/^/daemon ours: /'
sed -i 's/^dataPlane: .*/dataPlane: ipvs/' headgate.yaml
logged 'stays as it is.*configured=ipvs'
kernel --start-daemon backup --mcast-interface inside
ours migrate ebpf-to-ipvs --yes -o json 2>&1 | sed 's/^/failed to ipvs: /' || true
kernel --stop-daemon backup
passed 7
cat >twice.cjs <<'TWICE'
const { request } = require('node:http');
const [socketPath, body] = process.argv.slice(2);
const ask = () => new Promise((done) => {
  request({ socketPath, path: '/v1/migrate', method: 'POST' }, async (answer) => {
    let text = '';
    for await (const chunk of answer) text += chunk;
    done(text.trim());
  }).end(body);
});
Promise.all([ask(), ask()]).then((answers) => console.log(answers.join('\n')));
TWICE
node twice.cjs /run/headgate/*/control.sock '{"move":"ebpf-to-ipvs","yes":true}' |
  sed -e '/"done":true/s/^/daemon to ipvs: /' -e '/"done":true/!s/^/at once: /'
passed 8
kernel -Sn | sort | sed 's/^/daemon kernel: /'
ours events | grep -o 'migrate: .* now' | sed 's/^/told: /'
kill -TERM $daemon
wait $daemon || true
sed 's/^/log: /' daemon.log
touch end
wait $client $associated || true
sed 's/^/ /' out
sed 's/^/client: sctp /' out-sctp
