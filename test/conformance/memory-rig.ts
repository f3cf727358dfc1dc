import { openMemoryPlane, tcpFlags } from '../../src/dataplane/memory/plane.ts';
import { type Address, addressFromBytes } from '../../src/model/address.ts';
import type { Rig, Subject } from './rig.ts';

const { syn, ack, rst, fin } = tcpFlags;

async function start(): Promise<Rig> {
  const plane = openMemoryPlane();
  let port = 1000;
  const bytesOf = (text: string) => Uint8Array.from(text.split('.').map(Number));
  return {
    plane,
    templateSeconds: 30,
    afterEnd: 'an inactive entry',
    afterDelete: 'kept',
    service: async (family, protocol) => ({
      kind: 'address',
      protocol,
      address: (family === 4 ? '198.51.100.10' : '2001:db8:100::10') as Address,
      port: port++,
    }),
    realServer: async (family) => {
      const last = 1 + (port % 200);
      return {
        address: (family === 4 ? `10.1.0.${last}` : `fd10::${last.toString(16)}`) as Address,
        port: port++,
      };
    },
    client: (family, n) =>
      addressFromBytes(
        family === 4
          ? bytesOf(`203.0.${n >> 8}.${n & 255}`)
          : Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, n & 255, 7, 9, n >> 8, 0, 0, 0, 0, 0, n & 31, 7),
      ),
    async open({ protocol, address, port }, client) {
      const virtual = { protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const), address, port };
      const pass = (direction: 'in' | 'out', flags = 0) =>
        plane.packet(client, virtual, { direction, bytes: 40, flags });
      const first = pass('in', syn);
      if (first.kind !== 'forwarded') return undefined;
      if (protocol === 'tcp')
        for (const [way, flags] of [
          ['out', syn | ack],
          ['in', ack],
        ] as const)
          pass(way, flags);
      return {
        server: first.to,
        async say() {
          const verdict = pass('in', ack);
          return verdict.kind === 'forwarded' ? verdict.to : undefined;
        },
        async reset() {
          pass('in', rst);
        },
        async finish() {
          for (const [way, flags] of [
            ['in', fin | ack],
            ['out', fin | ack],
            ['in', ack],
          ] as const)
            pass(way, flags);
        },
      };
    },
    wait: async (seconds) => plane.advance(seconds * 1000),
    async forget(conversation) {
      await conversation.reset();
      // Longer than a reset connection is remembered, shorter than any other.
      plane.advance(12_000);
    },
    close: () => plane.close(),
  };
}

export const memory: Subject = {
  name: 'memory',
  deviations: {},
  steps: process.env.LONG ? 10_000 : 2000,
  start,
};
