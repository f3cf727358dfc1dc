import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { type Address, parseAddress } from '../../src/model/address.ts';
import { requires } from '../requirements.ts';
import { checked, loopback } from './site.ts';

function ping(keys: Record<string, unknown> = {}, address: Address = loopback) {
  return checked({ type: 'ping', timeout: '400ms', ...keys }, 0, address);
}

/** Raw ICMP sockets of this network namespace. */
function rawSockets(): number {
  return ['raw', 'raw6'].flatMap((name) =>
    readFileSync(`/proc/self/net/${name}`, 'utf8').trim().split('\n').slice(1),
  ).length;
}

requires('root', 'ip')('an echo request', () => {
  test.each(['127.0.0.1', '::1'])('is answered by the kernel (%s)', async (text) => {
    const { result } = await ping({}, parseAddress(text));
    expect(result).toMatchObject({ isGood: true, detail: `echo reply from ${text}` });
  });

  test('many at the same time share a socket, which is closed after them', async () => {
    const before = rawSockets();
    const all = Array.from({ length: 1000 }, (_, i) =>
      ping({ timeout: '5s' }, parseAddress(`127.0.1.${i % 250}`)),
    );
    await new Promise((resolve) => setImmediate(resolve));
    expect(rawSockets()).toBeLessThanOrEqual(before + 1);
    for (const { result } of await Promise.all(all)) expect(result).toMatchObject({ isGood: true });
    expect(rawSockets()).toBe(before);
  });

  test('comes from the source address', async () => {
    expect((await ping({ source: '127.0.0.9' })).result).toMatchObject({ isGood: true });
    expect((await ping({ source: '192.0.2.1' })).result).toMatchObject({
      reason: 'source address 192.0.2.1 is not an address of this host',
    });
  });

  test('is sent as often as it may be, and what is nobody in the neighbourhood is unreachable', async () => {
    // A prefix of its own on the loopback interface is not asked for by ARP; a veth pair is.
    const name = `hgp${process.pid}x`;
    const far = `${name}1`;
    execFileSync('ip', ['link', 'add', `${name}0`, 'type', 'veth', 'peer', 'name', far]);
    try {
      execFileSync('ip', ['addr', 'add', '198.18.77.1/24', 'dev', `${name}0`]);
      for (const link of [`${name}0`, far]) execFileSync('ip', ['link', 'set', link, 'up']);
      const gone = await ping({ timeout: '10s' }, parseAddress('198.18.77.2'));
      expect(gone.result).toMatchObject({
        isGood: false,
        phase: 'expect',
        reason: 'host is unreachable, says 198.18.77.1',
      });
      // An address that is known and answers nothing.
      execFileSync('ip', ['neigh', 'add', '198.18.77.3', 'lladdr', '02:00:00:00:00:03', 'dev', `${name}0`]);
      const { result, lines } = await ping({ attempts: 4, timeout: '4s' }, parseAddress('198.18.77.3'));
      expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 4s' });
      expect(lines.filter(({ direction }) => direction === 'sent')).toHaveLength(4);
    } finally {
      execFileSync('ip', ['link', 'del', `${name}0`]);
    }
  });
});
