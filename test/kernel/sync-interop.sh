#!/bin/bash
# Runs in a guest: director a is the kernel's IPVS, director b is ours, and each tells the other. Connections by way of a are told
# to b, also one that is silent since before b came (`headgate sync send`), and the virtual addresses move there; then the same
# from b to a. Prints what the other one lists before they move (`b lists TCP ... STATE`, `a lists TCP ... STATE ORIGIN`), of each
# stream whether it goes on there (`NAME: goes on`), and what it says of its real servers. $1: the launcher of headgate.
set -euo pipefail
launcher=$1
export HEADGATE_CONNECTIONS=4096
. "$(dirname "$0")/sync-network.sh"
ours() { ip netns exec b "$launcher" "$@"; }
kernel() { ip netns exec a ipvsadm "$@"; }
# For streams by way of b: no client has a template there yet.
rules+='-A -t 10.1.0.102:8081 -s rr -p 300 -M 255.255.255.0
-a -t 10.1.0.102:8081 -r 10.2.0.4:8000 -m
-A --sctp-service 10.1.0.102:80 -s rr
-a --sctp-service 10.1.0.102:80 -r 10.2.0.4:8132 -m
'
modprobe sctp
cat >sctp-server.pl <<'SERVER'
use IO::Socket::INET;
my $listener = IO::Socket::INET->new(LocalAddr => '10.2.0.4', LocalPort => 8132, Proto => 132, Type => SOCK_STREAM, Listen => 9) or die "$!";
$SIG{CHLD} = 'IGNORE';
open my $file, '>', 'sctp-ready'; close $file;
while (my $stream = $listener->accept) {
  fork and next;
  while (sysread $stream, my $text, 100) { syswrite $stream, $text }
  exit;
}
SERVER
ip netns exec server perl sctp-server.pl &
sctp_server=$!
trap 'kill $server $sctp_server' EXIT
until [ -e sctp-ready ]; do sleep 0.2; done
cat >client.pl <<'CLIENT'
use IO::Socket::INET;
use IO::Socket::IP;
sub note { my ($name) = @_; open my $file, '>', $name; close $file }
sub await { my ($name) = @_; select undef, undef, undef, 0.1 until -e $name }
sub echo {
  my ($stream, $text) = @_;
  my $back = '';
  eval { local $SIG{ALRM} = sub { die }; alarm 60; syswrite $stream, $text; sysread $stream, $back, 100; alarm 0 };
  alarm 0;
  return $back eq $text;
}
my $port = 40000;
sub start {
  my ($name, $host, $service) = @_;
  my $from = $host =~ /:/ ? 'fd01::3' : '10.1.0.3';
  $port++;
  my $stream = IO::Socket::IP->new(PeerHost => $host, PeerPort => $service, LocalHost => $from, LocalPort => $port);
  return [$name, $stream];
}
sub associate {
  my ($name, $host, $service) = @_;
  $port++;
  my @ends = (PeerAddr => $host, PeerPort => $service, LocalAddr => '10.1.0.3', LocalPort => $port);
  return [$name, IO::Socket::INET->new(@ends, Proto => 132, Type => SOCK_STREAM)];
}
sub ways {
  my ($persistent) = @_;
  my @streams = map { start(@$_) } ['direct-routing', '10.1.0.100', 80], ['tunnel', '10.1.0.101', 80],
    ['masquerade', '10.1.0.102', 80], ['persistent', '10.1.0.102', $persistent], ['direct-routing-v6', 'fd01::100', 80];
  push @streams, associate('sctp', '10.1.0.102', 80);
  for my $one (@streams) { echo($one->[1], 'x') for 1 .. 4 }
  return @streams;
}
sub judge { print STDOUT "$_->[0]: ", echo($_->[1], 'y') ? 'goes on' : 'is lost', "\n" for @_ }
$| = 1;
my $silent = start('silent', '10.1.0.102', 8080);
echo($silent->[1], 'x');
note 'silent'; await 'listens';
my @by_a = ways 8080;
note 'by-a'; await 'at-b';
judge $silent, @by_a;
my @by_b = ways 8081;
note 'by-b'; await 'at-a';
judge @by_b;
note 'finished';
sleep 1 while 1;
CLIENT
await() { until [ -e "$1" ]; do sleep 0.1; done; }
move() { # from to
  let_go "$1"
  hold "$2"
  ip -n server neigh flush all
}

kernel -R <<<"$rules"
for role in master backup; do kernel --start-daemon $role --mcast-interface inside --syncid 9; done
hold a
ip netns exec client perl client.pl &
client=$!
trap 'kill $server $sctp_server $client' EXIT
await silent

ours ipvsadm -R <<<"$rules"
for role in backup master; do ours ipvsadm --start-daemon $role --mcast-interface inside --syncid 9; done
ip netns exec a "$launcher" sync send
touch listens
await by-a
b_lists() { ours ipvsadm -Lnc | awk 'NR > 2 { print "b lists", $1, $3, $4, $5, $6 }' | sort; }
until [ "$(b_lists | tee listed | wc -l)" -eq 8 ]; do sleep 0.2; done
cat listed
move a b
touch at-b
await by-b
ours ipvsadm -Ln

a_lists() { awk '$3 ~ /9C4[8-9A-F]/ || $5 == "1F91" { print "a lists", $1, $3, $5, $8, $9 }' /proc/net/ip_vs_conn_sync | sort; }
until [ "$(ip netns exec a bash -c "$(declare -f a_lists); a_lists" | tee listed | wc -l)" -eq 7 ]; do sleep 0.2; done
cat listed
move b a
touch at-a
await finished
kernel -Ln
ours clean-up
