import { describe, expect, it } from 'vitest';
import type { Address } from '../../model/address.ts';
import type { SyncedConnection } from '../../model/connection-sync.ts';
import type { PeerStatement } from '../../model/peer.ts';
import { decodeMessage, encodeEnd, encodeMessage, encodeOldMessage } from '../sync/message.ts';
import { clearWire, sealedWire } from '../sync/wire.ts';
import { decodeStatement, encodeStatement, statementAmongMessages } from './statement.ts';

const said: PeerStatement = {
  ...{ host: 'lb1', version: '1.2.3' },
  vrrp: [
    {
      ...{ name: 'front', state: 'backup', reason: 'it waits for a master', forMs: 12_345, priority: 100 },
      master: { source: '192.0.2.2' as Address, priority: 150, agoMs: 40 },
    },
    {
      name: 'back',
      state: 'master',
      reason: 'no master was heard',
      forMs: 1,
      priority: 150,
      standsBack: true,
    },
  ],
  sync: [{ role: 'master', lagMs: 5 }, { role: 'backup' }],
  configuration: { generation: 41, services: 'abc', failed: false },
};

/** A statement whose text is this. */
function written(text: string): Buffer {
  const head = encodeStatement(7, said).subarray(0, 8);
  const whole = Buffer.concat([head, Buffer.from(text)]);
  whole.writeUInt16BE(whole.length, 2);
  return whole;
}
const changed = (change: object) => decodeStatement(written(JSON.stringify({ ...said, ...change })));

describe('what a director says of itself', () => {
  it('is what the other one reads', () => {
    expect(decodeStatement(encodeStatement(7, said))).toEqual({ id: 7, statement: said });
  });

  it('is told from messages of connections at the same port', () => {
    const connection: SyncedConnection = {
      ...{ family: 4, protocol: 6, flags: 0, state: 1, fwmark: 0, timeoutSeconds: 9 },
      ...{
        client: Uint8Array.of(10, 0, 0, 1),
        clientPort: 1,
        virtual: Uint8Array.of(10, 0, 0, 2),
        virtualPort: 2,
      },
      ...{ real: Uint8Array.of(10, 0, 0, 3), realPort: 3 },
    };
    const messages = [
      encodeMessage(7, []),
      encodeMessage(7, [connection]),
      encodeOldMessage(7, [connection]),
      encodeEnd(7, 1),
    ];
    for (const message of messages) expect(statementAmongMessages(message)).toBeUndefined();
    expect(statementAmongMessages(encodeStatement(7, said))).toEqual({ id: 7, statement: said });
    expect(statementAmongMessages(written('{'))).toBe('it is no JSON');
    expect(statementAmongMessages(Buffer.alloc(9))).toBe('it is no statement of a director');
  });

  it('is nothing to who listens for connections, in the clear and with a key', () => {
    // ip_vs_process_message() takes what is not of version 1 for version 0: no connection.
    expect(decodeMessage(encodeStatement(7, said))).toMatchObject({
      version: 0,
      connections: [],
      refused: [],
    });
    const [ours, theirs] = [sealedWire('a key of sixteen or more', () => 0), clearWire];
    expect(decodeMessage(ours.seal(encodeStatement(7, said)))).toMatchObject({
      connections: [],
      refused: [],
    });
    expect(theirs.open(ours.seal(encodeStatement(7, said)))).toBe(
      'it is encrypted, and there is no key here',
    );
  });

  it('keeps the first of very many instances, and fits into a datagram', () => {
    const vrrp = Array.from({ length: 1000 }, (_, i) => ({
      ...said.vrrp[0]!,
      name: `front${i}`,
      reason: 'x'.repeat(5000),
    }));
    const bytes = encodeStatement(7, { ...said, vrrp });
    expect(bytes.length).toBeLessThan(65_000);
    const read = decodeStatement(bytes);
    if (typeof read === 'string') throw new Error(read);
    expect(read.statement.vrrp.length).toBe(128);
  });

  it('shows nothing that a terminal obeys', () => {
    const read = changed({ host: 'lb\u001b[2J\n1\u202e' });
    expect(read).toMatchObject({ statement: { host: 'lb?[2J?1?' } });
  });

  it.each([
    ['a number for a text', { host: 3 }],
    ['a list that is none', { vrrp: {} }],
    ['an unknown state', { vrrp: [{ ...said.vrrp[0], state: 'king' }] }],
    ['a priority beyond a byte', { vrrp: [{ ...said.vrrp[0], priority: 256 }] }],
    ['a span before now', { vrrp: [{ ...said.vrrp[0], forMs: -1 }] }],
    ['no address', { vrrp: [{ ...said.vrrp[0], master: { source: 'x', priority: 1, agoMs: 1 } }] }],
    ['no configuration', { configuration: null }],
    ['a list in a list', { sync: [[]] }],
  ])('%s is refused', (_what, change) => {
    expect(typeof changed(change)).toBe('string');
  });

  it('of whatever bytes is read or refused, and nothing else', () => {
    const whole = encodeStatement(7, said);
    const found = new Set<string>();
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(whole);
      for (let n = 0; n < 1 + (i % 8); n++)
        bytes[Math.floor(Math.random() * bytes.length)] = Math.floor(Math.random() * 256);
      const end = i % 3 === 0 ? Math.floor(Math.random() * bytes.length) : undefined;
      found.add(typeof decodeStatement(bytes.subarray(0, end)));
    }
    expect([...found].toSorted()).toEqual(['object', 'string']);
  });
});
