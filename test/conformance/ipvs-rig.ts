import { setTimeout as sleep } from 'node:timers/promises';
import { openIpvsPlane } from '../../src/dataplane/ipvs/plane.ts';
import { gather } from '../../src/model/connection-batches.ts';
import { serviceKey } from '../../src/model/service-id.ts';
import type { DestinationId } from '../../src/model/virtual-service.ts';
import { writeSysctl } from '../../src/sys/sysctl.ts';
import { openWire } from '../kernel/wire.ts';
import { encode, type Packet, tcp, text, udp } from '../packets/frame.ts';
import { enterNetns } from '../packets/harness.ts';
import { amount } from '../packets/random.ts';
import { at } from '../packets/services.ts';
import { buildWorld } from '../packets/world.ts';
import { until } from '../proxy/site.ts';
import { openPlaces } from './packet-places.ts';
import type { Conversation, Rig, Subject } from './rig.ts';

/** A connection that was reset is forgotten after 10 s (ip_vs_proto_tcp.c), unless another packet of it comes. */
const refreshAfterMs = 4000;
/** An entry whose place another one takes is gone after a tick of the kernel's timers. */
const tickMs = 20;

/** The IPVS of the running kernel in a namespace of its own, with real frames. What it sends on is compared byte by byte. */
async function start(): Promise<Rig> {
  const world = buildWorld(`hgipvs-${process.pid}`);
  const goHome = enterNetns(world.director);
  const plane = openIpvsPlane();
  // Replies of real servers are routed; no answer is held back.
  for (const family of ['ipv4', 'ipv6']) writeSysctl(`net.${family}.conf.all.forwarding`, 1);
  writeSysctl('net.ipv4.icmp_ratelimit', 0);
  writeSysctl('net.ipv6.icmp.ratelimit', 0);
  const wire = openWire(world);
  /** Connections that were reset and are to be remembered, with the time of their last packet. */
  const closed = new Map<string, { readonly service: string; readonly again: () => void; atMs: number }>();

  const refresh = (): void => {
    const now = performance.now();
    for (const one of closed.values())
      if (now - one.atMs > refreshAfterMs) {
        one.again();
        one.atMs = now;
      }
  };

  return {
    plane: {
      ...plane,
      apply(operations) {
        refresh();
        // Nobody counts the connections of a service that is gone.
        const gone = operations.flatMap((one) => (one.kind === 'delete-service' ? [serviceKey(one.id)] : []));
        for (const [key, { service }] of closed) if (gone.includes(service)) closed.delete(key);
        return plane.apply(operations);
      },
      async read(look) {
        refresh();
        await sleep(tickMs);
        return plane.read(look);
      },
    },
    templateSeconds: 30,
    afterEnd: 'an inactive entry',
    // It is told to expire, which it does with the next tick (ip_vs_conn_expire_now).
    endedCounts: true,
    afterDelete: 'kept',
    // They are summed up every two seconds (ip_vs_est.c), the first time after a look at how fast the machine is.
    countersLateSeconds: 5,
    ...openPlaces(),
    async open(id, client) {
      const { protocol, address, port } = id;
      refresh();
      const [from, to] = [at(client.address, client.port), at(address, port)];
      const key = `${from} ${to}`;
      closed.delete(key);
      const make = (to: string, flags: string, ttl: number): Packet =>
        protocol === 'tcp' ? tcp(from, to, flags, { ttl }) : udp(from, to, { payload: text('hello'), ttl });
      const send = (flags: string): DestinationId | undefined => {
        const [found] = wire
          .send('c0', make(to, flags, 64))
          // Without a service of its family IPVS sees no packet, and the director answers by itself.
          .filter(({ ip }) => (ip.protocol === 6 || ip.protocol === 17) && ip.source !== address);
        if (!found) return undefined;
        const { packet, ip } = found;
        const server = { address: ip.destination, port: packet.readUInt16BE(ip.transport + 2) };
        if (!packet.equals(encode(make(at(server.address, server.port), flags, 63))))
          throw new Error(`sent on as ${packet.toString('hex')}`);
        return server;
      };
      const server = send('S');
      if (server === undefined) return undefined;
      const back = at(server.address, server.port);
      const reply = (flags: string) => wire.send('r0', tcp(back, from, flags));
      if (protocol === 'tcp') {
        reply('SA');
        send('A');
      }
      const conversation: Conversation = {
        server,
        say: async () => send('A'),
        async reset() {
          send('R');
          closed.set(key, { service: serviceKey(id), again: () => send('R'), atMs: performance.now() });
        },
        async finish() {
          send('FA');
          reply('FA');
          send('A');
        },
      };
      keyOf.set(conversation, key);
      return conversation;
    },
    wait: (seconds) => sleep(seconds * 1000),
    async forget(conversation) {
      const { length } = await gather(plane.connections());
      await conversation.reset();
      closed.delete(keyOf.get(conversation) ?? '');
      for (let seconds = 0; seconds < 10; seconds += 2) {
        refresh();
        await sleep(2000);
      }
      await until(async () => {
        if ((await gather(plane.connections())).length >= length) throw new Error('the entry is still there');
      });
    },
    async close() {
      await plane.apply([{ kind: 'flush' }]);
      await plane.close();
      wire.close();
      goHome();
      world.remove();
    },
  };
}

const keyOf = new WeakMap<Conversation, string>();

const noFullNat = 'the kernel’s IPVS has no such method';
const oneRule =
  'IPVS has one rule for all services, the sysctl expire_nodest_conn; the plane says that it does not act on this one';

export const ipvs: Subject = {
  name: 'ipvs',
  deviations: {
    'full NAT carries and counts connections as masquerading does': noFullNat,
    'full NAT keeps a client’s datagrams together, and takes no one-packet service': noFullNat,
    'keep: connections of a deleted destination go on to it': oneRule,
    'expire, reset: a connection of a deleted destination ends, its client finds another': oneRule,
    'expire: a datagram of a deleted destination’s client goes to another at once': oneRule,
    'reset: a datagram of a deleted destination’s client is refused, the next one goes to another': oneRule,
    'maintenance sends the persistent clients of one real server elsewhere':
      'IPVS has one rule for all real servers, the sysctl expire_quiescent_template; the plane says that it does not act on this one',
    'an overloaded destination serves again below its lower threshold, not before':
      'the kernel does not list whether a destination between its two thresholds is overloaded; it does as the rule says',
    'an edit of the thresholds decides anew, and nothing else does':
      'the kernel does not list whether a destination between its two thresholds is overloaded; it does as the rule says',
  },
  steps: amount({ short: 24, usual: 60, long: 300 }),
  start,
};
