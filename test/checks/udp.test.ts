import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { afterEach, expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { freePort } from './server.ts';
import { checked } from './site.ts';

let peer: Socket | undefined;
afterEach(() => {
  peer?.close();
  peer = undefined;
});

async function peerThat(
  answer: (datagram: Buffer, from: RemoteInfo) => Buffer | string | undefined,
  host = '127.0.0.1',
) {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  peer = socket;
  await new Promise<void>((resolve) => socket.bind(0, host, resolve));
  socket.on('message', (datagram, from) => {
    const said = answer(datagram, from);
    if (said !== undefined) socket.send(said, from.port, from.address);
  });
  return socket.address().port;
}

async function udp(port: number, keys: Record<string, unknown> = {}, address?: Address) {
  return (await checked({ type: 'udp', timeout: '400ms', ...keys }, port, address)).result;
}

test.each(['127.0.0.1', '::1'])('an ICMP error is bad, and known at once (%s)', async (host) => {
  const result = await udp(await freePort(), { timeout: '1m' }, parseAddress(host));
  expect(result).toMatchObject({ isGood: false, phase: 'connect', reason: 'connection refused' });
  expect(result.durationMs).toBeLessThan(30_000);
});

test('silence is good where no answer is needed, within half of the time', async () => {
  const result = await udp(await peerThat(() => undefined));
  expect(result).toMatchObject({ isGood: true, detail: 'sent, no ICMP error' });
  expect(result.durationMs).toBeGreaterThan(195);
});

test.each([[{ answer: true }], [{ expect: 'x' }], [{ expectHex: 'xx' }], [{ minLength: 1 }]])(
  'silence is bad with %o',
  async (keys) => {
    expect(await udp(await peerThat(() => undefined), keys)).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'no answer within 400ms',
    });
  },
);

test('what is sent arrives, and the answer is compared from its beginning', async () => {
  const echo = await peerThat((datagram) => Buffer.concat([datagram, Buffer.from('!')]));
  expect(await udp(echo, { send: 'hé', expect: 'hé!' })).toMatchObject({ isGood: true, detail: '4 bytes' });
  expect(await udp(echo, { send: 'abc', expect: 'abcd' })).toMatchObject({
    phase: 'expect',
    reason: 'got "abc!", want "abcd"',
  });
  expect(await udp(echo, { sendHex: '00FF10', expectHex: '00xX1x' })).toMatchObject({ isGood: true });
  expect(await udp(echo, { sendHex: '00ff10', expectHex: '00f0' })).toMatchObject({
    reason: 'got 00ff1021 (4 bytes), want 00f0',
  });
  expect(await udp(echo, { sendHex: '00', expectHex: '0021xx' })).toMatchObject({ isGood: false });
  expect(await udp(echo, { send: 'abc', maxLength: 3 })).toMatchObject({
    reason: 'got 4 bytes, want 0 to 3',
  });
  expect(await udp(echo, { send: 'abc', minLength: 5 })).toMatchObject({
    reason: 'got 4 bytes, want 5 to 65535',
  });
});

test('it comes from the source address, and hears nobody but the peer', async () => {
  let from: RemoteInfo | undefined;
  const other = createSocket('udp4');
  const port = await peerThat((_datagram, sender) => {
    from = sender;
    other.send('good', sender.port, sender.address);
    return undefined;
  });
  const result = await udp(port, { source: '127.0.0.9', expect: 'good' });
  other.close();
  expect(from?.address).toBe('127.0.0.9');
  expect(result).toMatchObject({ isGood: false, reason: 'no answer within 400ms' });
  expect(await udp(port, { source: '192.0.2.1' })).toMatchObject({
    reason: 'source address 192.0.2.1 is not an address of this host',
  });
});
