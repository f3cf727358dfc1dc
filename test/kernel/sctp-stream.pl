# One SCTP association at a time. `serve PORT FILE ADDRESS...`: takes as many bytes as FILE has, and answers with those it got.
# `ask FROM ADDRESS PORT FILE`: sends FILE and prints `ok` when the same comes back. RFC 6458, 4: sockets of the one-to-one style.
#
# Each socket is bound to one address: an association with more of them asks after each (RFC 9260, 8.3), and who is asked by a
# way that leads by no director aborts what it does not know.
use strict;
use warnings;
use IO::Select;
use Socket qw(:all);

my ($role, @rest) = @ARGV;
my $sctp = 132;

sub contents {
  my ($file) = @_;
  open(my $handle, '<:raw', $file) or die "open $file: $!\n";
  local $/;
  return scalar <$handle>;
}

sub place {
  my ($address, $port) = @_;
  return $address =~ /:/ ? pack_sockaddr_in6($port, inet_pton(AF_INET6, $address)) : pack_sockaddr_in($port, inet_aton($address));
}

sub bound {
  my ($address, $port) = @_;
  my $family = $address =~ /:/ ? AF_INET6 : AF_INET;
  socket(my $socket, $family, SOCK_STREAM, $sctp) or die "socket: $!\n";
  bind($socket, place($address, $port)) or die "bind to $address: $!\n";
  return $socket;
}

sub send_all {
  my ($socket, $data) = @_;
  for (my $at = 0; $at < length $data; $at += 8192) {
    my $piece = substr($data, $at, 8192);
    defined send($socket, $piece, 0) or die "send: $!\n";
  }
}

sub receive_all {
  my ($socket, $length) = @_;
  my $all = '';
  while (length $all < $length) {
    my $count = sysread($socket, my $piece, 65536);
    defined $count or die "receive: $!\n";
    last if $count == 0;
    $all .= $piece;
  }
  return $all;
}

if ($role eq 'serve') {
  my ($port, $file, @addresses) = @rest;
  my $length = length contents($file);
  my $listeners = IO::Select->new(map { bound($_, $port) } @addresses);
  for ($listeners->handles) { listen($_, 16) or die "listen: $!\n" }
  open(my $ready, '>', 'sctp-ready') or die "ready: $!\n";
  close $ready;
  while (1) {
    for my $listener ($listeners->can_read) {
      accept(my $socket, $listener) or die "accept: $!\n";
      eval { send_all($socket, receive_all($socket, $length)); 1 } or warn $@;
      close $socket;
    }
  }
} else {
  my ($from, $address, $port, $file) = @rest;
  my $data = contents($file);
  my $socket = bound($from, 0);
  alarm 60;
  connect($socket, place($address, $port)) or die "connect: $!\n";
  send_all($socket, $data);
  print receive_all($socket, length $data) eq $data ? "ok\n" : "other bytes\n";
}
