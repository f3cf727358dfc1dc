#!/bin/bash
# Runs in a guest that counts instructions. A client and a server with a wire between them, number 0, and three directors
# in namespaces, each with a wire to both: number 1, "routed", only routes; 2, "ipvs", has the kernel's IPVS; 3,
# "headgate", ours, by the same rules. The kernel's packet generator sends; what arrives is counted and dropped where it
# comes in.
#
# $1: the launcher of ipvsadm. $2: log2 of the size of the connection tables. $3: the runs, a line each, NAME|SENDER
# DEVICE|RECEIVER DEVICE|MATCH|SETTING;SETTING... (plan.ts). Prints NAME|DELIVERED|RESULT for each; at the end what
# the balancers have counted.
set -euo pipefail
launcher=$1 bits=$2 runs=$3

modprobe -a veth pktgen cls_u32 sch_ingress act_gact
modprobe ip_vs conn_tab_bits="$bits"
modprobe ip_vs_rr

for name in client server; do ip netns add $name; done
ip link add s0 netns server type veth peer name c0 netns client
number=1
for director in routed ipvs headgate; do
  mac=02:00:00:00:0$number
  ip netns add $director
  ip -b - <<BATCH
link add wire netns $director address $mac:01 type veth peer name c$number netns client address $mac:02
link add lan netns $director address $mac:03 type veth peer name s$number netns server address $mac:04
BATCH
  ip -n $director -b - <<BATCH
link set lo up
link set wire up
link set lan up
addr add 10.$number.1.1/24 dev wire
addr add 10.$number.1.101/32 dev wire
addr add 10.$number.1.102/32 dev wire
addr add 10.$number.1.103/32 dev wire
addr add 10.$number.2.1/24 dev lan
neigh replace 10.$number.1.2 lladdr $mac:02 nud permanent dev wire
neigh replace 10.$number.2.2 lladdr $mac:04 nud permanent dev lan
BATCH
  ip netns exec $director sysctl -qw net.ipv4.ip_forward=1
  number=$((number + 1))
done
for number in 0 1 2 3; do
  for end in "client c$number" "server s$number"; do
    read -r namespace device <<<"$end"
    ip -n "$namespace" link set "$device" up
    tc -n "$namespace" qdisc add dev "$device" clsact
  done
done

rules() { # number of the director
  local service
  for service in 101:m 102:g 103:i; do
    echo "-A -u 10.$1.1.${service%:*}:80 -s rr"
    echo "-a -u 10.$1.1.${service%:*}:80 -r 10.$1.2.2:80 -${service#*:}"
  done
}
rules 2 | ip netns exec ipvs ipvsadm -R
rules 3 | HEADGATE_CONNECTIONS=$((1 << bits)) ip netns exec headgate "$launcher" -R

# The generator's own account of a run with these settings.
send() { # namespace, device, settings
  # shellcheck disable=SC2016
  ip netns exec "$1" bash -c '
    cd /proc/net/pktgen
    echo rem_device_all >kpktgend_0
    echo "add_device $0" >kpktgend_0
    tr ";" "\n" <<<"$1" | while read -r setting; do echo "$setting" >"$0"; done
    echo start >pgctrl
    grep -A 1 Result: "$0" | tr -s "\n " " "
  ' "$2" "$3"
}

while IFS='|' read -r name from to match settings; do
  read -r sender sending <<<"$from"
  read -r receiver receiving <<<"$to"
  # shellcheck disable=SC2086
  tc -n "$receiver" filter add dev "$receiving" ingress pref 1 protocol ip u32 match $match action drop
  result=$(send "$sender" "$sending" "$settings")
  delivered=$(tc -n "$receiver" -s filter show dev "$receiving" ingress pref 1 | sed -n 's/.* bytes \([0-9]*\) pkt .*/\1/p')
  echo "$name|$delivered|$result"
  tc -n "$receiver" filter del dev "$receiving" ingress pref 1
done <<<"$runs"

echo counted by ipvs
ip netns exec ipvs ipvsadm -L -n --stats --exact
echo counted by headgate
ip netns exec headgate "$launcher" -L -n --stats --exact
