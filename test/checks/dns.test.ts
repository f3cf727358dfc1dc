import { createSocket } from 'node:dgram';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked } from './site.ts';

const zone = `$TTL 60
@ IN SOA ns1 hostmaster ( 2026010101 3600 600 86400 60 )
  IN NS ns1
  IN MX 10 mail
ns1 IN A 192.0.2.53
www IN A 192.0.2.1
www IN A 192.0.2.2
www IN AAAA 2001:db8::1
alias IN CNAME www
_sip._udp IN SRV 10 20 5060 www
text IN TXT "v=spf1 -all" "and more"
${Array.from({ length: 60 }, (_, i) => `big IN TXT "${String(i).padStart(60, 'x')}"`).join('\n')}
`;
const reverseZone = `$TTL 60
@ IN SOA ns1.example.org. hostmaster.example.org. ( 1 3600 600 86400 60 )
  IN NS ns1.example.org.
1 IN PTR www.example.org.
`;

requires('named')('a name server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    const file = (name: string, text: string) => writeFileSync(join(folder.path, name), text);
    file('example.org', zone);
    file('reverse', reverseZone);
    file('broken', 'this is no zone\n');
    file(
      'named.conf',
      `options {
        directory "${folder.path}"; pid-file none; session-keyfile none; recursion no; dnssec-validation no;
        listen-on port ${port} { 127.0.0.1; }; listen-on-v6 port ${port} { ::1; };
        minimal-responses yes;
      };
      controls { };
      zone "example.org" { type primary; file "example.org"; };
      zone "2.0.192.in-addr.arpa" { type primary; file "reverse"; };
      zone "broken.org" { type primary; file "broken"; };`,
    );
    server = await startServer('named', ['-g', '-c', join(folder.path, 'named.conf')], /\brunning\b/);
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  async function dns(keys: Record<string, unknown>, address?: Address) {
    return (await checked({ type: 'dns', timeout: '2s', ...keys }, port, address)).result;
  }

  test.each(['udp', 'tcp'])('answers by %s', async (transport) => {
    expect(await dns({ transport, query: 'example.org' })).toMatchObject({
      isGood: true,
      detail: 'NOERROR, ns1.example.org hostmaster.example.org 2026010101 3600 600 86400 60',
    });
    expect(await dns({ transport, query: 'example.org' }, parseAddress('::1'))).toMatchObject({
      isGood: true,
    });
    expect(await dns({ transport, query: 'nobody.example.org', record: 'A' })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'got NXDOMAIN, want NOERROR',
    });
    expect(await dns({ transport, query: 'broken.org' })).toMatchObject({
      reason: 'got SERVFAIL, want NOERROR',
    });
    expect(await dns({ transport })).toMatchObject({ reason: 'got REFUSED, want NOERROR' });
    expect(await dns({ transport, rcode: 'REFUSED' })).toMatchObject({ isGood: true });
  });

  test.each([
    ['www.example.org', 'A', '192.0.2.2'],
    ['www.EXAMPLE.org.', 'AAAA', '2001:db8::1'],
    ['alias.example.org', 'CNAME', 'WWW.example.org.'],
    ['alias.example.org', 'A', '192.0.2.1'],
    ['example.org', 'MX', '10 mail.example.org.'],
    ['example.org', 'NS', 'ns1.example.org'],
    ['_sip._udp.example.org', 'SRV', '10 20 5060 www.example.org.'],
    ['text.example.org', 'TXT', '"v=spf1 -all" "and more"'],
    ['1.2.0.192.in-addr.arpa', 'PTR', 'www.example.org'],
    ['192.0.2.1', 'PTR', 'www.example.org'],
  ])('%s %s is %s, and nothing else', async (query, record, answer) => {
    expect(await dns({ query, record, expect: answer })).toMatchObject({ isGood: true });
    expect(await dns({ query, record, expect: `${answer}1` })).toMatchObject({
      isGood: false,
      phase: 'expect',
    });
  });

  test('one of the records must match an expression', async () => {
    const keys = { query: 'www.example.org', record: 'A' };
    expect(await dns({ ...keys, matches: '\\.2$' })).toMatchObject({
      isGood: true,
      detail: 'NOERROR, 192.0.2.2',
    });
    expect(await dns({ ...keys, matches: '\\.3$' })).toMatchObject({
      reason: expect.stringMatching(/^got 192\.0\.2\.[12], 192\.0\.2\.[12], want a match of/),
    });
    expect(await dns({ ...keys, record: 'MX', expect: '10 mail' })).toMatchObject({
      reason: 'got no MX record, want "10 mail"',
    });
  });

  test('what does not fit a datagram is asked for by TCP', async () => {
    const keys = { query: 'big.example.org', record: 'TXT' };
    expect(await dns(keys)).toMatchObject({ isGood: true });
    expect(await dns({ ...keys, matches: 'x7"$' })).toMatchObject({
      reason: 'the answer does not fit a datagram: ask with "transport: tcp"',
    });
    expect(await dns({ ...keys, matches: 'x7"$', transport: 'tcp' })).toMatchObject({ isGood: true });
  });

  test.each(['udp', 'tcp'])('that is frozen answers nothing in time (%s)', async (transport) => {
    await server.freeze();
    const result = await dns({ transport, query: 'example.org', timeout: '1s' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 1s' });
  });
});

describe('without a name server', () => {
  test.each(['udp', 'tcp'])('a closed port refuses (%s)', async (transport) => {
    const { result } = await checked({ type: 'dns', transport, timeout: '1m' }, await freePort());
    expect(result).toMatchObject({ isGood: false, phase: 'connect', reason: 'connection refused' });
    expect(result.durationMs).toBeLessThan(30_000);
  });

  test('answers to other queries are passed over, garbage is named', async () => {
    const liar = createSocket('udp4');
    await new Promise<void>((resolve) => liar.bind(0, '127.0.0.1', resolve));
    const { port } = liar.address();
    liar.on('message', (query, { port: from }) => {
      const answer = Buffer.from(query);
      answer.writeUInt16BE(0x8180, 2);
      const otherId = Buffer.from(answer);
      otherId.writeUInt16BE((answer.readUInt16BE(0) + 1) & 0xffff, 0);
      const otherName = Buffer.from(answer);
      otherName.write('x', 13);
      liar.send(otherId, from);
      liar.send(otherName, from);
      liar.send(query, from);
    });
    const keys = { type: 'dns', query: 'example.org', timeout: '300ms' } as const;
    const { result, lines } = await checked(keys, port);
    expect(lines.filter(({ direction }) => direction === 'received')).toHaveLength(3);
    expect(result).toMatchObject({ isGood: false, reason: 'no answer within 300ms' });
    liar.removeAllListeners('message').on('message', (_query, { port: from }) => liar.send('hello', from));
    expect((await checked(keys, port)).result).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'the answer is no DNS message: it ends after 5 bytes',
    });
    liar.close();
  });
});
