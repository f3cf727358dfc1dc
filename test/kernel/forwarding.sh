#!/bin/bash
# Runs in a guest: a client, a director and a real server in namespaces, one service for each method; prints a line for
# every transfer of 1 MB: `NAME down ok`, `NAME up true`, or what went wrong; then `NAME sctp ok` for each both ways by SCTP.
# $1: the launcher of ipvsadm.
set -euo pipefail
launcher=$1
work=$(mktemp -d)
cd "$work"
for module in veth bridge 8021q ipip ip6_tunnel sit sctp mpls_router mpls_iptunnel; do modprobe "$module"; done

ip link add br0 type bridge
ip link set br0 up
number=1
for name in director client server; do
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip link add "b-$name" type veth peer name lan netns "$name"
  ip link set "b-$name" master br0 up
  ip -n "$name" link set lan up
  ip -n "$name" addr add "10.1.0.$number/24" dev lan
  ip -n "$name" addr add "fd01::$number/64" dev lan nodad
  number=$((number + 1))
done
ip link add inside netns director type veth peer name inside netns server
for name in director server; do ip -n "$name" link set inside up; done
ip -n director addr add 10.2.0.1/24 dev inside
ip -n server addr add 10.2.0.3/24 dev inside
# What the real server answers as its private address goes back through the director.
ip -n server rule add from 10.2.0.3 lookup 100
ip -n server route add default via 10.2.0.1 table 100
# Clients in a VLAN of the same wire.
for name in director:1 client:2; do
  ip -n "${name%:*}" link add link lan name lan.5 type vlan id 5
  ip -n "${name%:*}" link set lan.5 up
  ip -n "${name%:*}" addr add "10.5.0.${name#*:}/24" dev lan.5
done

for vip in 10.1.0.100 10.1.0.101 10.1.0.102 10.1.0.103 10.1.0.104 10.1.0.105; do ip -n director addr add $vip/32 dev lan; done
for vip in fd01::100 fd01::101 fd01::102 fd01::104; do ip -n director addr add $vip/128 dev lan nodad; done
ip -n director addr add 10.5.0.102/32 dev lan.5
ip netns exec server sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 net.ipv4.conf.all.rp_filter=0 \
  net.ipv4.conf.tunl0.rp_filter=0 net.ipv6.conf.ip6tnl0.disable_ipv6=0
ip -n server addr add 10.1.0.100/32 dev lo
ip -n server link set tunl0 up
ip -n server link set ip6tnl0 up
ip -n server addr add 10.1.0.101/32 dev tunl0
ip -n server addr add fd01::100/128 dev lo nodad
ip -n server addr add fd01::101/128 dev ip6tnl0 nodad

# Tunnels of the client that end on the director, a label that does, and a service behind a mark; nobody listens on the director itself.
for table in '4 ipip 10.1.0.1 10.1.0.2 10.1.0.104' '6 ip6ip6 fd01::1 fd01::2 fd01::104'; do
  read -r family mode far near vip <<<"$table"
  ip -n client -"$family" tunnel add to-director-"$family" mode "$mode" remote "$far" local "$near"
  ip -n client link set to-director-"$family" up
  ip -n client -"$family" route add "$vip" dev to-director-"$family" src "$near"
done
ip netns exec director sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.tunl0.rp_filter=0 net.ipv4.conf.tunl0.forwarding=1 \
  net.ipv6.conf.ip6tnl0.disable_ipv6=0
ip -n director link set tunl0 up
ip -n director link set ip6tnl0 up
ip -n client route add 10.1.0.105 encap mpls 16 via 10.1.0.1 dev lan
ip netns exec director sysctl -qw net.mpls.platform_labels=32 net.mpls.conf.lan.input=1
ip -n director -f mpls route add 16 dev lo
ip netns exec director nft -f - <<'MARKS'
table ip marks {
  chain before {
    type filter hook prerouting priority mangle
    ip daddr { 10.1.0.104, 10.1.0.105 } tcp dport 81 meta mark set 7
  }
}
MARKS

{
  while read -r vip real; do printf -- '-A -t %s:80 -s rr\n-a -t %s:80 -r %s\n' "$vip" "$vip" "$real"; done <<'RULES'
10.1.0.100 10.1.0.3:80 -g
10.1.0.101 10.1.0.3:80 -i
10.1.0.102 10.2.0.3:80 -m
10.5.0.102 10.2.0.3:80 -m
[fd01::100] [fd01::3]:80 -g
[fd01::101] [fd01::3]:80 -i
10.1.0.103 10.1.0.3:80 --full-nat
[fd01::102] [fd01::3]:80 --full-nat --client-address tcp-option
10.1.0.104 10.2.0.3:80 -m
[fd01::104] [fd01::3]:80 --full-nat
RULES
  while read -r vip real; do printf -- '-A --sctp-service %s -s rr\n-a --sctp-service %s -r %s\n' "$vip" "$vip" "$real"; done <<'RULES'
10.1.0.100:80 10.1.0.3:80 -g
10.1.0.101:80 10.1.0.3:80 -i
10.1.0.102:8080 10.2.0.3:80 -m
10.1.0.103:8080 10.1.0.3:80 --full-nat
[fd01::100]:80 [fd01::3]:80 -g
[fd01::101]:80 [fd01::3]:80 -i
RULES
  printf -- '-A -f 7 -s rr\n-a -f 7 -r 10.2.0.3:80 -m\n'
} >rules
HEADGATE_CONNECTIONS=4096 ip netns exec director "$launcher" -R <rules

head -c 1048576 /dev/urandom >data
# Serves the data, and says whether what is sent is the same.
cat >server.cjs <<'SERVER'
const data = require('node:fs').readFileSync('data');
const serve = async (request, response) => {
  const parts = [];
  for await (const part of request) parts.push(part);
  response.end(request.method === 'PUT' ? String(Buffer.concat(parts).equals(data)) : data);
};
require('node:http').createServer(serve).listen(80, '::', () => require('node:fs').writeFileSync('ready', ''));
SERVER
ip netns exec server node server.cjs &
server=$!
ip netns exec server perl "$(dirname "$0")/sctp-stream.pl" serve 80 data \
  10.1.0.100 10.1.0.101 10.2.0.3 10.1.0.3 fd01::100 fd01::101 &
sctp=$!
trap 'kill $server $sctp' EXIT
until [ -e ready ] && [ -e sctp-ready ]; do sleep 0.2; done

check() { # name, address
  rm -f down
  if ip netns exec client curl -gsS --max-time 60 -o down "http://$2/" && cmp -s down data; then
    echo "$1 down ok"
  else
    echo "$1 down failed"
  fi
  echo "$1 up $(ip netns exec client curl -gsS --max-time 60 -T data "http://$2/")"
}
while read -r name address; do check "$name" "$address"; done <<'CHECKS'
direct-routing 10.1.0.100
tunnel 10.1.0.101
masquerade 10.1.0.102
vlan 10.5.0.102
direct-routing-v6 [fd01::100]
tunnel-v6 [fd01::101]
full-nat 10.1.0.103
full-nat-v6 [fd01::102]
CHECKS

# Hosts behind a veth pair leave checksums and the cutting of what is long to its far end: packets come unfinished, several in one.
# Without offloads they come as by a wire.
associate() { # name, the client's address, virtual address, port
  echo "$1 sctp $(ip netns exec client perl "$(dirname "$0")/sctp-stream.pl" ask "$2" "$3" "$4" data 2>&1)"
}
associate direct-routing 10.1.0.2 10.1.0.100 80
associate tunnel 10.1.0.2 10.1.0.101 80
associate masquerade 10.1.0.2 10.1.0.102 8080
associate full-nat 10.1.0.2 10.1.0.103 8080
associate direct-routing-v6 fd01::2 fd01::100 80
associate tunnel-v6 fd01::2 fd01::101 80
ip netns exec client ethtool -K lan tx off >/dev/null
ip netns exec server ethtool -K inside tx off >/dev/null
associate masquerade-finished 10.1.0.2 10.1.0.102 8080
ip netns exec director "$launcher" -L -n
tunneled() { # value of ignore_tunneled: what becomes of connections through tunnels, and of one without
  for at in 10.1.0.104 10.1.0.104:81 '[fd01::104]' 10.1.0.105:81 10.1.0.102; do
    ip netns exec client curl -gsS --max-time 60 -o down "http://$at/" 2>/dev/null && cmp -s down data && result=served || result=$?
    echo "ignore_tunneled=$1 $at $result"
  done
}
tunneled 0
ip netns exec director "$(dirname "$launcher")/headgate.js" sysctl ignore_tunneled=1 >/dev/null
tunneled 1
