#!/bin/bash
# Runs in a guest: director a is the kernel's IPVS and tells of its connections, director b is ours and comes when a stream is
# idle. What b lists before and after `headgate sync send` on a, and whether the stream goes on at b. $1: the launcher.
set -euo pipefail
launcher=$1
export HEADGATE_CONNECTIONS=4096
work=$(mktemp -d)
cd "$work"
for module in veth bridge ip_vs ip_vs_rr; do modprobe "$module"; done
ip link add br0 type bridge
ip link set br0 up
number=1
for name in client a b server; do
  ip netns add "$name"
  ip -b - <<LINK
link add l-$name type veth peer name lan netns $name
link set l-$name master br0 up
LINK
  ip -n "$name" -b - <<LINK
link set lo up
link set lan up
addr add 10.1.0.$number/24 dev lan
LINK
  number=$((number + 1))
done
move() { # from to: the virtual address, and the way back
  ip -n "$1" addr del 10.1.0.100/32 dev lan 2>>errors || true
  ip -n "$2" addr add 10.1.0.100/32 dev lan
  ip -n server route replace 10.1.0.1/32 via "$(ip -n "$2" -4 -br addr show dev lan | awk '{sub("/.*", "", $3); print $3}')"
  ip -n client neigh flush all
}
for name in a b server; do ip netns exec "$name" sh -c 'cd /proc/sys/net/ipv4; echo 1 >ip_forward
  echo 0 | tee conf/all/rp_filter conf/all/send_redirects conf/lan/send_redirects conf/all/accept_redirects conf/lan/accept_redirects >/dev/null'; done
move b a

rules='-A -t 10.1.0.100:80 -s rr -p 300
-a -t 10.1.0.100:80 -r 10.1.0.4:8000 -m
'
ip netns exec a ipvsadm -R <<<"$rules"
ip netns exec a ipvsadm --start-daemon master --mcast-interface lan --syncid 9
ip netns exec server perl -MIO::Socket::INET -e '
  my $stream = IO::Socket::INET->new(LocalAddr => "10.1.0.4", LocalPort => 8000, Listen => 1)->accept;
  while (sysread $stream, my $text, 100) { syswrite $stream, $text }' &
processes=$!
cat >client.pl <<'CLIENT'
use IO::Socket::INET;
my $stream;
until ($stream = IO::Socket::INET->new(PeerAddr => '10.1.0.100', PeerPort => 80)) { select undef, undef, undef, 0.2 }
sub echo { my ($text) = @_; alarm 60; syswrite $stream, $text; sysread $stream, my $back, 100; alarm 0; $back eq $text }
sub note { my ($name, $text) = @_; open my $file, '>', "$name.new"; print $file $text; close $file; rename "$name.new", $name }
$SIG{ALRM} = sub { note 'answered', 'is lost'; exit };
echo 'by a' and note 'opened', '';
select undef, undef, undef, 0.1 until -e 'moved';
note 'answered', echo('by b') ? 'goes on' : 'is lost';
CLIENT
ip netns exec client perl client.pl &
processes="$processes $!"
trap 'kill $processes 2>>errors' EXIT
until [ -e opened ]; do sleep 0.1; done

ours() { local where=$1; shift; ip netns exec "$where" "$launcher" "$@"; }
ours b ipvsadm -R <<<"$rules"
ours b ipvsadm --start-daemon backup --mcast-interface lan --syncid 9
list() { ours b ipvsadm -Lnc | awk -v when="$1" 'NR > 2 { sub(":[0-9]*$", "", $4); print when, $1, $3, $4, $5, $6 }' | sort; }
list before
ours a sync send
until [ "$(list after | tee listed | wc -l)" -eq 2 ]; do sleep 0.2; done
cat listed
move a b
touch moved
until [ -e answered ]; do sleep 0.1; done
echo "the stream $(cat answered)"
ours b clean-up
