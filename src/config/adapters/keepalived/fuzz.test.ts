// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are parameters of keepalived
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { read } from '../../../../test/keepalived/reading.ts';

const usual = `global_defs {
  smtp_server 192.0.2.1 25
  notification_email {
    admin@example.org
  }
  lvs_sync_daemon eth1 A id 3 maxlen 1000
}
$VIP=192.0.2.10
$REAL= \\
  real_server 10.0.0.\${N} 80 { \\
    weight $N \\
    TCP_CHECK { \\
      connect_timeout 1.5 \\
    } \\
  }
@one $PORT=80
@^one $PORT=81
vrrp_script check { script "/bin/check 'a b'" interval 2
  weight -20 }
vrrp_instance A {
  interface eth0
  virtual_router_id 51 # text
  state MASTER
  authentication { auth_type PASS
    auth_pass "secret word" }
  virtual_ipaddress { $VIP/24 dev eth0
    2001:db8::10/64 }
  track_script { check weight 3 }
}
virtual_server_group G {
  192.0.2.20-30 80
  2001:db8::20-2f 80
  192.0.2.64/29 443
  fwmark 7 inet6
}
virtual_server group G {
  protocol TCP
  lvs_sched mh
  mh-port
  lvs_method TUN type gue port 6080 csum
  quorum 3
  hysteresis 1
  sorry_server 10.0.0.99 80
  ~SEQ(N, 11, 14) $REAL
  ~LST({N,M}, {20, a}, {21, b}) $REAL
}
include conf.d/*.conf
`;
const others = {
  'conf.d/a.conf':
    'virtual_server $VIP $PORT {\n real_server 10.0.0.5 80 {\n HTTP_GET {\n url {\n path /\n}\n}\n}\n}\n',
  'conf.d/b.conf': 'include ../keepalived.conf\n',
};

/** A text with parts cut out, doubled, moved or replaced. */
const mutated = fc
  .array(
    fc.tuple(
      fc.nat(usual.length),
      fc.nat(60),
      fc.oneof(
        fc.constantFrom(
          '',
          '{',
          '}',
          '"',
          "'",
          '\\',
          '$',
          '${',
          '~SEQ(',
          '@',
          '#',
          '\n',
          ' ',
          '\0',
          'é',
          '-1',
          '1e9',
        ),
        fc.string({ maxLength: 8 }),
        fc.tuple(fc.nat(usual.length), fc.nat(80)).map(([at, length]) => usual.slice(at, at + length)),
      ),
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((edits) =>
    edits.reduce((text, [at, length, put]) => text.slice(0, at) + put + text.slice(at + length), usual),
  );

const runs = process.env.LONG ? 20_000 : 100;

test('the text that is played with is sound', () => {
  const { problems, services } = read(usual, others);
  expect(problems).toEqual([]);
  expect(services?.map(({ name }) => name)).toEqual(['G', 'fwmark-7-ipv6', 'http-udp-192.0.2.10']);
});

test('whatever is wrong with a file, it is read, and what comes out is sound or told', () => {
  fc.assert(
    fc.property(mutated, (text) => {
      const { all, found } = readSafely(text);
      for (const { line, reason } of all) expect(line > 0 && reason !== '').toBe(true);
      // Only what keepalived would end at, or what is endless, is a problem: all else is passed over.
      for (const message of found)
        expect(message).toMatch(/wanted .*, found none$|more than can be followed|a circle|include /);
    }),
    { numRuns: runs },
  );
});

function readSafely(text: string) {
  const { all, problems } = read(text, others);
  return { all, found: problems };
}

test('what no interface can be called is passed over, and the rest counts', () => {
  const { problems } = read(usual.replace('lvs_sync_daemon eth1', 'lvs_sync_daemon 2001:'), others);
  expect(problems).toEqual([]);
});

test('a check that has no port to ask is passed over where only a firewall mark is served', () => {
  const text =
    'virtual_server fwmark 7 {\n protocol TCP\n real_server 10.0.0.1 {\n TCP_CHECK {\n }\n }\n real_server 10.0.0.2 {\n TCP_CHECK {\n connect_port 80\n }\n }\n}\n';
  const { problems, services } = read(text, {});
  expect(problems).toEqual([]);
  const checks = (services as { realServers: { check?: unknown }[] }[])[0]!.realServers.map(
    ({ check }) => check,
  );
  expect(checks).toEqual([undefined, expect.objectContaining({ type: 'tcp', port: 80 })]);
});

test('a mail server with a colon that is no address of IPv6 is passed over, and the rest counts', () => {
  const { problems, notes } = read(usual.replace('smtp_server 192.0.2.1', 'smtp_server :G192.0.2.1'), others);
  expect(problems).toEqual([]);
  expect(notes).toContainEqual('2 ignored: its mail server is no host');
});

test('the same check of a group asks the port of its addresses, and nothing where its mark is served', () => {
  const text =
    'virtual_server_group G {\n 192.0.2.10 80\n fwmark 7\n}\nvirtual_server group G {\n protocol TCP\n lvs_method DR\n real_server 10.0.0.1 {\n TCP_CHECK {\n }\n }\n}\n';
  const { problems, services, notes } = read(text, {});
  expect(problems).toEqual([]);
  expect(services?.map(({ fwmark, check }) => [fwmark, check])).toEqual([
    [undefined, expect.objectContaining({ type: 'tcp' })],
    [7, undefined],
  ]);
  expect(notes).toContainEqual(expect.stringMatching(/^9 ignored: .*there is nothing to ask$/));
});

test('an empty argument of a program is an argument', () => {
  const { problems, values } = read(usual.replace("'a b'", "'a b' ''"), others);
  expect(problems).toEqual([]);
  expect(values.failover).toMatchObject({ scripts: [{ command: ['/bin/check', 'a b', ''] }] });
});

test('VRRP version 2 takes addresses of IPv6 along that its advertisements cannot name', () => {
  const { problems, values } = read(
    'vrrp_instance A {\n interface eth0\n virtual_router_id 51\n virtual_ipaddress {\n 192.0.2.10\n 2001:db8::10/64\n }\n}\n',
    {},
  );
  expect(problems).toEqual([]);
  expect(values.failover).toMatchObject({
    vrrp: [{ version: 2, addresses: ['192.0.2.10'], excludedAddresses: ['2001:db8::10/64'] }],
  });
});

test.each([
  ['a parameter that holds itself', '$A=${A}${A}\nrouter $A\n'],
  ['parameters that hold each other', '$A=$B $B\n$B=$A $A\nrouter $A\n'],
  ['a parameter of lines that holds itself', '$A= \\\n x \\\n $A\n$A\n'],
  ['repetitions in each other', '~SEQ(A,1,9999) ~SEQ(B,1,9999) ~SEQ(C,1,9999) x$A$B$C\n'],
  ['a long repetition', '~SEQ(A,1,99999999) x$A\n'],
  ['a file that includes itself', 'include keepalived.conf\n'],
  ['many braces', `${'{'.repeat(100_000)}\n`],
  ['many blocks', `${'virtual_server fwmark 1 {\nreal_server 10.0.0.1 {\n'.repeat(20_000)}`],
  ['a long line', `virtual_server ${'a'.repeat(1_000_000)} {\n}\n`],
  ['a long pattern', `include ${'{a,b}'.repeat(40)}\n`],
  ['large groups', 'virtual_server_group G {\n10.0.0.0/8 80\n2001:db8::/32 80\n}\n'],
])('%s has an end', (_what, text) => {
  expect(read(text, { 'keepalived.conf': text })).toBeDefined();
});
