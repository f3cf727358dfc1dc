import { createCipheriv } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { Address } from '../model/address.ts';
import type { ConnectionFeed } from '../model/connection-feed.ts';
import type { SyncedConnection, SyncSettings } from '../model/connection-sync.ts';
import { accept } from './acceptance.ts';
import { readArrived } from './exchange.ts';
import { decodeStatement } from './peers/statement.ts';
import type { InstanceSettings } from './settings.ts';
import { openBackup } from './sync/backup.ts';
import { clearWire, sealedWire, type Wire } from './sync/wire.ts';
import { ipPacket } from './vrrp/frame.ts';
import { newVrrp, step } from './vrrp/machine.ts';

/*
 * A million random datagrams for each way in, in this process: everything between a socket and what a director does with
 * what it heard. Sockets and processes have the same in test/ha/random-packets.test.ts and test/daemon/random-datagrams.test.ts.
 */

const datagrams = 1_000_000;
/** A key takes longer. */
const sealedDatagrams = process.env.LONG ? datagrams : 200_000;
/** The same ones every time. */
function* random(most: number, count = datagrams): Generator<Buffer> {
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16, 'headgate'), Buffer.alloc(16));
  const zeros = Buffer.alloc(1 << 16);
  for (let bytes = stream.update(zeros), at = 0, i = 0; i < count; i++) {
    if (at + 2 + most > bytes.length) [bytes, at] = [stream.update(zeros), 0];
    const length = bytes.readUInt16BE(at) % (most + 1);
    yield bytes.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
}

const own = '10.77.0.1' as Address;
const [source, destination] = ['10.77.0.2' as Address, '224.0.0.18' as Address];
const instance = (version: 2 | 3, type: 'none' | 'password' | 'ah'): InstanceSettings => ({
  ...{ name: 'front', interface: 'eth0', version, routerId: 51, advertisementInterval: 1000 },
  ...{ preempt: true, preemptDelay: 0, downAfter: 3, peers: [], addresses: [], excludedAddresses: [] },
  ...{ trackInterfaces: [], paths: { routes: [], rules: [] }, rival: 'defend' },
  authentication: { type, secret: 'geheim' },
  announce: { repeat: 1, delay: 0, refresh: 0 },
});

describe.each([
  ['version 2 with a password', instance(2, 'password')],
  ['version 2 behind an authentication header', instance(2, 'ah')],
  ['version 3', instance(3, 'none')],
])('packets for VRRP, %s', (_name, settings) => {
  it('end nothing, and change no role', { timeout: 300_000 }, () => {
    const isBehind = settings.authentication.type === 'ah';
    const begun = newVrrp(settings, 0);
    let { vrrp } = step(begun, { kind: 'fitness', fitness: { priority: 150 } }, settings, own, 0);
    vrrp = step(vrrp, { kind: 'due' }, settings, own, 10_000).vrrp;
    expect(vrrp.state).toBe('master');
    let [heard, i] = [0, 0];
    for (const payload of random(80)) {
      // A third begins as an advertisement of priority 255 for this router, one behind a header of the right form.
      if (++i % 3 === 0 && payload.length > 44) {
        payload.set([(settings.version << 4) | 1, 51, 255, 1], isBehind ? 24 : 0);
        if (isBehind) payload.set([112, 4, 0, 0, 10, 77, 0, 2]);
      }
      const packet = ipPacket(payload, { source, destination }, isBehind ? 51 : 112);
      const header = packet.subarray(0, 20);
      const arrived = readArrived({ source, destination, hopLimit: 255, payload, header }, isBehind);
      const said = accept(arrived, settings);
      if (said === undefined || typeof said === 'string') continue;
      heard++;
      vrrp = step(vrrp, { kind: 'heard', advertisement: said, from: source }, settings, own, 10_000).vrrp;
    }
    // Without authentication one of 65,536 that are of the right length has the right checksum: then it is an advertisement.
    if (settings.authentication.type === 'none') expect(heard).toBeLessThan(datagrams / 10_000);
    else expect({ heard, state: vrrp.state }).toEqual({ heard: 0, state: 'master' });
  });
});

/** How messages of both versions, of the envelope, of the end of a table, of lost messages and of directors about themselves begin. */
const beginnings = [
  [0, 3, 0, 0, 3, 1, 0, 0],
  [0, 3, 0, 0, 0, 0x48, 1, 0],
  [0, 3, 0, 0, 0, 0x45, 1, 0],
  [0, 3, 0, 0, 0, 0x4c, 1, 0],
  [0, 3, 0, 0, 0, 0x50, 1, 0],
  [2, 3, 0, 0],
];

function* likely(count = datagrams): Generator<Buffer> {
  let i = 0;
  for (const bytes of random(200, count)) {
    if (++i % 7 > 0 && bytes.length >= 8) {
      bytes.set(beginnings[(i % 7) - 1]!);
      bytes.writeUInt16BE(bytes.length, 2);
    }
    yield bytes;
  }
}

describe.each<[string, number, () => Wire]>([
  ['in the clear', datagrams, () => clearWire],
  ['with a key', sealedDatagrams, () => sealedWire('a key of sixteen or more', () => 1_800_000_000_000)],
])('datagrams at the ports of the connection sync, %s', (_name, count, openWire) => {
  it('are entered as whole connections or refused', { timeout: 300_000 }, () => {
    const arriving = likely(count);
    const entered: SyncedConnection[] = [];
    const settings: SyncSettings = {
      ...{ role: 'backup', interface: 'eth0', id: 3, group: destination, port: 8848, ttl: 1 },
    };
    const receiver = {
      ...{ fd: -1, source: () => source, close: () => undefined },
      receive: () => arriving.next().value as Buffer | undefined,
    };
    const feed = {
      enter(connection: SyncedConnection) {
        entered.push(connection);
        return 'bound';
      },
    } as ConnectionFeed;
    const sender = { send: () => true, close: () => undefined };
    const exchange = { receivers: [receiver], senders: [sender], maxLength: 1472, close: () => undefined };
    const worker = openBackup(settings, feed, exchange, openWire(), () => 0);
    // What waits is heard to its end.
    worker.close();
    expect(arriving.next().done).toBe(true);
    const { refused } = worker.progress();
    expect(refused).toBeGreaterThan(count / 4);
    if (worker.progress().encrypted) expect([entered.length, refused]).toEqual([0, count]);
    for (const { client, virtual, real, family } of entered)
      expect([client.length, virtual.length, real.length]).toEqual(Array(3).fill(family === 6 ? 16 : 4));
  });
});

it('datagrams at the port beside it are no statement of a director', { timeout: 300_000 }, () => {
  let statements = 0;
  for (const bytes of likely()) {
    const opened = clearWire.open(bytes);
    if (typeof opened !== 'string' && typeof decodeStatement(opened) !== 'string') statements++;
  }
  expect(statements).toBe(0);
});
