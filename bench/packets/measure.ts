import { testRunSkb, testRunXdp } from '../../src/sys/bpf/test-run.ts';
import type { Director } from './director.ts';
import { firstClient } from './director.ts';
import type { Frame } from './frames.ts';

/** Verdicts of the programs, as they come back. */
export const verdicts = { pass: 0xffffffff, redirect: 7, xdpPass: 2, xdpTx: 3, xdpRedirect: 4 } as const;

/** The port of the first flows; flows beyond 65,536 use the next ones. */
export const firstPort = 20_000;

/** A set of flows: which frames come, in which order, and what the program must answer. */
export type Flows = {
  readonly frame: Frame;
  readonly count: number;
  readonly verdict: number;
  /** In order (to fill a table or to open connections), or in a fixed disorder that no prefetcher follows. */
  readonly order: 'rising' | 'scattered';
  /** At tc: the receiving interface has verified the checksum. */
  readonly verified?: boolean;
};

const field = {
  client: 80,
  port: 84,
  addressAt: 88,
  portAt: 92,
  mask: 96,
  multiplier: 100,
  increment: 104,
  flow: 108,
  verdict: 112,
  wrong: 116,
  verified: 120,
  other: 124,
  ipChecksumAt: 128,
  checksumAt: 132,
} as const;

/** Tells the wrapper what to send. */
export function plan(director: Director, flows: Flows): void {
  const view = director.loaded.variable('plan');
  const put = (name: keyof typeof field, value: number) => view.setUint32(field[name], value, true);
  const frame = Buffer.alloc(80);
  flows.frame.bytes.copy(frame);
  for (const [i, byte] of frame.entries()) view.setUint8(i, byte);
  const base = flows.frame.words === 'v6' ? 0 : lastWord(firstClient.v4);
  put('client', base);
  put('port', firstPort);
  put('addressAt', flows.frame.addressAt);
  put('portAt', flows.frame.portAt);
  put('ipChecksumAt', flows.frame.ipChecksumAt);
  put('checksumAt', flows.frame.checksumAt);
  put('mask', flows.count - 1);
  // Both walk through all flows before any comes again (Hull and Dobell, for a power of two).
  put('multiplier', flows.order === 'rising' ? 1 : 1_664_525);
  put('increment', flows.order === 'rising' ? 1 : 1_013_904_223);
  // A disorder goes on where it was, so that rounds do not meet the same few flows again.
  if (flows.order === 'rising') put('flow', 0xffffffff);
  put('verdict', flows.verdict);
  put('wrong', 0);
  put('verified', flows.verified ? 1 : 0);
}

function lastWord(address: string): number {
  return address.split('.').reduce((word, part) => word * 256 + Number(part), 0);
}

/** Runs a program `packets` times; nanoseconds a packet, and the packet that came out last. Throws when an answer was wrong. */
export function run(
  director: Director,
  program: string,
  flows: Flows,
  ifindex: number,
  packets: number,
): { nanoseconds: number; data: Buffer } {
  const { fd } = director.loaded.programs[program]!;
  const result = program.startsWith('xdp')
    ? testRunXdp(fd, flows.frame.bytes, {}, { repeat: packets })
    : testRunSkb(fd, flows.frame.bytes, { ifindex }, { repeat: packets });
  const view = director.loaded.variable('plan');
  const wrong = view.getUint32(field.wrong, true);
  if (wrong > 0) {
    throw new Error(
      `measure ${program}: ${wrong} of ${packets} packets got another verdict than ${flows.verdict}, the last of them ${view.getUint32(field.other, true)}; look at the table's size and the namespace's routes`,
    );
  }
  return { nanoseconds: result.durationNanoseconds, data: result.data };
}
