c() { ip netns exec cl bash -c "$1" & }
c 'exec 3<>/dev/tcp/10.9.1.100/80; echo hi >&3; read -u 3 x; sleep 3000'; c 'exec 3<>/dev/tcp/10.9.1.100/80; echo hi >&3; read -u 3 x; sleep 3000'
c 'exec 3<>/dev/tcp/10.9.1.100/80; echo hi >&3; read -u 3 x'; c 'exec 3<>/dev/tcp/10.9.1.100/81; cat <&3; sleep 3000'; c 'exec 3<>/dev/tcp/10.9.1.100/82; echo hi >&3'
c 'exec 3<>/dev/tcp/10.9.1.100/83'; c 'exec 3<>/dev/tcp/10.9.1.100/84'; c 'echo x >/dev/udp/10.9.1.100/53'
c 'exec 3<>/dev/tcp/10.9.1.100/9999'; c 'exec 3<>/dev/tcp/fd09:1::100/80; echo hi >&3; read -u 3 x; sleep 3000'
c 'busybox printf "REGISTER sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP 10.9.1.2\r\nCall-ID: 1234567890@10.9.1.2\r\n\r\n" >/dev/udp/10.9.1.100/5060'
tc qdisc add dev dcl clsact; tc filter add dev dcl ingress protocol ip flower ip_proto tcp dst_ip 10.9.1.100 dst_port 7777 action skbedit mark 5
sleep 1; c 'exec 3<>/dev/tcp/10.9.1.100/7777'; sleep 5
