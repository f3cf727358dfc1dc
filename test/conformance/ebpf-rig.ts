import { setTimeout as sleep } from 'node:timers/promises';
import { numbers } from '../../src/dataplane/ebpf/layout.generated.ts';
import type { DestinationId } from '../../src/model/virtual-service.ts';
import { decode, encode, type Packet, tcp, text, udp } from '../packets/frame.ts';
import { type Outcome, openHarness } from '../packets/harness.ts';
import { amount } from '../packets/random.ts';
import { at } from '../packets/services.ts';
import { until } from '../proxy/site.ts';
import { openPlaces } from './packet-places.ts';
import type { Rig, Subject } from './rig.ts';

const { STATE_CLOSE } = numbers.state;

/** The director's addresses towards real servers: what full NAT speaks from (test/packets/world.ts). */
const directors: ReadonlySet<string> = new Set(['10.1.0.1', 'fd10::1']);

/** The mark of a packet that is to be answered with an ICMP error. */
const refusedMark = 0x48010000;
/** And of one that is to become resets. */
const resetMark = 0x48060000;

/** The program in the kernel, its packets by BPF_PROG_TEST_RUN. What it sends on is compared byte by byte. */
async function start(): Promise<Rig> {
  const harness = await openHarness('conformance', amount({ short: 1 << 16, usual: 1 << 16, long: 1 << 18 }));
  // No connection is to end by itself.
  harness.setLifetimes(3600 * harness.instance.settings.get(0, 'hz'));
  return {
    plane: harness.plane,
    templateSeconds: 2,
    afterEnd: 'an inactive entry',
    afterDelete: 'kept',
    ...openPlaces(),
    async open({ protocol, address, port }, client) {
      const [from, to] = [at(client.address, client.port), at(address, port)];
      const make = (to: string, flags: string, ttl: number, source = from): Packet =>
        protocol === 'tcp'
          ? tcp(source, to, flags, { ttl })
          : udp(source, to, { payload: text('hello'), ttl });
      /** Where the real server answers: to the client, or to the director's end with full NAT. */
      let answerTo = from;
      const send = (flags: string) => {
        const outcome = harness.receive('c0', make(to, flags, 64));
        // The turn through the internal veth, which a test run does not take by itself.
        if (outcome.mark === resetMark) harness.run('headgate_report', outcome.bytes, { mark: resetMark });
        return receiverOf(outcome, (server, source) => {
          if (directors.has(source.address)) answerTo = at(source.address, source.port);
          return make(at(server.address, server.port), flags, 63, answerTo);
        });
      };
      harness.clearIcmpLimits();
      const server = send('S');
      if (server === undefined) return undefined;
      const back = at(server.address, server.port);
      const reply = (flags: string) => harness.receive('r0', tcp(back, answerTo, flags));
      if (protocol === 'tcp') {
        reply('SA');
        send('A');
      }
      return {
        server,
        say: async () => send('A'),
        async reset() {
          send('R');
        },
        async finish() {
          send('FA');
          reply('FA');
          send('A');
        },
      };
    },
    wait: (seconds) => sleep(seconds * 1000),
    async forget(conversation) {
      const { settings, runtime } = harness.instance;
      const lifetime = settings.get(0, 'timeout', STATE_CLOSE);
      const before = runtime.get(0, 'entries');
      settings.set(0, 'timeout', 2, STATE_CLOSE);
      await conversation.reset();
      settings.set(0, 'timeout', lifetime, STATE_CLOSE);
      await until(() => {
        if (runtime.get(0, 'entries') >= before) throw new Error('the entry is still there');
      });
    },
    close: harness.close,
  };
}

/** Who gets a packet; undefined: nobody. What leaves must be what was sent, to its receiver, one hop on. */
function receiverOf(
  outcome: Outcome,
  wanted: (server: DestinationId, source: DestinationId) => Packet,
): DestinationId | undefined {
  if (outcome.mark === refusedMark || outcome.mark === resetMark || outcome.verdict !== 'redirect')
    return undefined;
  const found = outcome.bytes.subarray(14);
  const ip = decode(found)!;
  const server = { address: ip.destination, port: found.readUInt16BE(ip.transport + 2) };
  const source = { address: ip.source, port: found.readUInt16BE(ip.transport) };
  if (!found.equals(encode(wanted(server, source)))) throw new Error(`sent on as ${found.toString('hex')}`);
  return server;
}

export const ebpf: Subject = {
  name: 'ebpf',
  deviations: {},
  steps: amount({ short: 100, usual: 2000, long: 10_000 }),
  start,
};
