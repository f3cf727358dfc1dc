add() { ip netns add $1; ip link add d$1 type veth peer name e0 netns $1; ip link set d$1 up; ip addr add 10.9.$2.1/24 dev d$1; ip -6 addr add fd09:$2::1/64 dev d$1 nodad
  ip -n $1 link set lo up; ip -n $1 link set e0 up; ip -n $1 addr add 10.9.$2.2/24 dev e0; ip -n $1 -6 addr add fd09:$2::2/64 dev e0 nodad; ip -n $1 route add default via 10.9.$2.1; ip -n $1 -6 route add default via fd09:$2::1; }
modprobe ip_vs; modprobe ip_vs_pe_sip; add cl 1; add ra 2; add rb 3
echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
ip addr add 10.9.1.100/32 dev dcl; ip -6 addr add fd09:1::100/128 dev dcl nodad
ip netns exec ra busybox nc -ll -p 80 -e cat & ip netns exec rb busybox nc -ll -p 80 -e cat &
ip netns exec rb busybox nc -ll -p 81 -e true & ip netns exec ra busybox nc -ll -p 82 -e sleep 1000 &
sleep 2; ping -c1 10.9.2.2; ping -c1 10.9.3.2
