# Sourced in a guest: a client, two directors and a real server in namespaces on one wire, the real server behind both
# directors as well. `a` and `b` are the directors; the kernel's ip_vs and the tunnels are loaded.
for module in veth bridge ipip ip6_tunnel sit ip_vs ip_vs_rr; do modprobe "$module"; done
work=$(mktemp -d)
cd "$work"

for wire in br0 br1; do ip link add "$wire" type bridge; ip link set "$wire" up; done
number=1
for name in a b client server; do
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip link add "l-$name" type veth peer name lan netns "$name"
  ip link set "l-$name" master br0 up
  ip -n "$name" link set lan up
  ip -n "$name" addr add "10.1.0.$number/24" dev lan
  ip -n "$name" addr add "fd01::$number/64" dev lan nodad
  if [ "$name" != client ]; then
    ip link add "i-$name" type veth peer name inside netns "$name"
    ip link set "i-$name" master br1 up
    ip -n "$name" link set inside up
    ip -n "$name" addr add "10.2.0.$number/24" dev inside
  fi
  number=$((number + 1))
done

vip4s='10.1.0.100 10.1.0.101 10.1.0.102'
vip6s='fd01::100'
hold() { # director: it has the virtual addresses, and what the real server answers goes through it
  for vip in $vip4s; do ip -n "$1" addr add "$vip/32" dev lan; done
  for vip in $vip6s; do ip -n "$1" addr add "$vip/128" dev lan nodad; done
  ip -n server route replace default via "$(ip -n "$1" -4 -br addr show dev inside | awk '{sub("/.*", "", $3); print $3}')" table 100
  ip -n client neigh flush all
}
let_go() { # director
  for vip in $vip4s; do ip -n "$1" addr del "$vip/32" dev lan; done
  for vip in $vip6s; do ip -n "$1" addr del "$vip/128" dev lan; done
}
ip -n server rule add from 10.2.0.4 lookup 100
ip netns exec server sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=0 \
  net.ipv4.conf.tunl0.rp_filter=0
for name in a b; do ip netns exec "$name" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
ip -n server addr add 10.1.0.100/32 dev lo
ip -n server link set tunl0 up
ip -n server addr add 10.1.0.101/32 dev tunl0
ip -n server addr add fd01::100/128 dev lo nodad

# Direct routing, tunnel, masquerading, and IPv6; .102:8080 is persistent, .102:53 is UDP.
rules='-A -t 10.1.0.100:80 -s rr
-a -t 10.1.0.100:80 -r 10.1.0.4:80 -g
-A -t 10.1.0.101:80 -s rr
-a -t 10.1.0.101:80 -r 10.1.0.4:80 -i
-A -t 10.1.0.102:80 -s rr
-a -t 10.1.0.102:80 -r 10.2.0.4:8000 -m
-A -t 10.1.0.102:8080 -s rr -p 300 -M 255.255.255.0
-a -t 10.1.0.102:8080 -r 10.2.0.4:8000 -m
-A -u 10.1.0.102:53 -s rr
-a -u 10.1.0.102:53 -r 10.2.0.4:5300 -m
-A -t [fd01::100]:80 -s rr
-a -t [fd01::100]:80 -r [fd01::4]:80 -g
'

# The real server echoes what it is sent, and goes on doing so.
cat >server.cjs <<'SERVER'
const { createServer } = require('node:net');
const udp = require('node:dgram').createSocket('udp4');
let open = 3;
const ready = () => --open || require('node:fs').writeFileSync('ready', '');
for (const port of [80, 8000])
  createServer((socket) => socket.on('error', () => {}).pipe(socket)).listen(port, '::', ready);
udp.on('message', (text, { address, port }) => udp.send(text, port, address));
udp.bind(5300, ready);
SERVER
ip netns exec server node server.cjs &
server=$!
trap 'kill $server' EXIT
until [ -e ready ]; do sleep 0.2; done
