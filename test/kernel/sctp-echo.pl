# SCTP associations that go on. `serve ADDRESS PORT NAME READY`: answers each message with `NAME ` and it, and makes the file READY.
# `ask FROM FROM-PORT ADDRESS PORT`: sends a number, waits for its answer and goes on with the next one until the file `end` is
# there; the file `sctp-answers` holds how many have come. At the end it prints who has answered and `whole`, or what went
# wrong. RFC 6458, 4: sockets of the one-to-one style, each bound to one address, as in sctp-stream.pl.
use strict;
use warnings;
use Socket qw(:all);

my ($role, $from, $from_port, @rest) = @ARGV;
socket(my $socket, AF_INET, SOCK_STREAM, 132) or die "socket: $!\n";
bind($socket, pack_sockaddr_in($from_port, inet_aton($from))) or die "bind to $from: $!\n";

sub note {
  my ($file, $text) = @_;
  open(my $handle, '>', "$file.new") or die "$file: $!\n";
  print $handle $text;
  close $handle;
  rename("$file.new", $file) or die "$file: $!\n";
}

if ($role eq 'serve') {
  my ($name, $ready) = @rest;
  listen($socket, 16) or die "listen: $!\n";
  note($ready, '');
  while (accept(my $client, $socket)) {
    while (sysread($client, my $text, 1000)) { syswrite($client, "$name $text") or last }
    close $client;
  }
} else {
  my ($address, $port) = @rest;
  my ($answers, %names) = (0);
  my $trouble = eval {
    local $SIG{ALRM} = sub { die "no answer\n" };
    alarm 60;
    connect($socket, pack_sockaddr_in($port, inet_aton($address))) or die "connect: $!\n";
    until (-e 'end') {
      alarm 60;
      syswrite($socket, $answers) or die "send: $!\n";
      my $count = sysread($socket, my $text, 1000);
      defined $count or die "receive: $!\n";
      $text =~ /^(\w+) \Q$answers\E$/ or die "got '$text'\n";
      $names{$1} = 1;
      note('sctp-answers', ++$answers);
      select(undef, undef, undef, 0.15);
    }
    1;
  } ? 'whole' : "broken after $answers: $@";
  chomp $trouble;
  print join('+', sort keys %names), " $trouble\n";
}
