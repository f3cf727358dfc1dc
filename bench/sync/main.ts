/**
 * Connection sync of two directors on this machine: new connections at a rate, each opened, established at once and ended a
 * second later. What the processes that tell and hear of them take of a processor, and what arrives.
 *
 * Usage: npm run bench:sync [-- --rate N --seconds N --key TEXT]
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunningSync } from '../../src/model/connection-sync.ts';
import { listLinks } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { type FrameSocket, openFrameSocket } from '../../src/sys/raw.ts';
import { headgateLauncher } from '../../test/agent/site.ts';
import { type Director, rules, type SyncSite, standUpSync } from '../../test/ha/sync-site.ts';
import { encode, ethernet, tcp } from '../../test/packets/frame.ts';
import { readArguments } from '../arguments.ts';
import { machine, printTable, takePrecedence } from '../machine.ts';

const { rate, seconds, key } = readArguments(import.meta.filename, { rate: 20_000, seconds: 10, key: '' });
/** Connections a client's address has before the next one's turn. */
const portsEach = 50_000;
const firstPort = 10_000;
const stepMs = 5;
const endAfterMs = 1000;
const virtual = '10.71.0.101:7';

/** Frames of one flag from every client address; the port is put in. Their TCP checksum is nobody's business on the way. */
function framesOf(flags: string, to: string, from: string): Buffer[] {
  return Array.from({ length: Math.ceil((rate * seconds) / portsEach) }, (_, i) =>
    ethernet(encode(tcp(`10.71.0.${50 + i}:1`, virtual, flags)), { to, from }),
  );
}

const sourcePortAt = 14 + 20;

async function load(
  socket: FrameSocket,
  to: string,
  from: string,
): Promise<{ tookMs: number; openedMs: number }> {
  const [syn, ack, fin] = [framesOf('S', to, from), framesOf('A', to, from), framesOf('FA', to, from)];
  const send = (frames: Buffer[], n: number) => {
    const frame = frames[Math.floor(n / portsEach)]!;
    frame.writeUInt16BE(firstPort + (n % portsEach), sourcePortAt);
    while (!socket.send(frame));
  };
  const total = rate * seconds;
  const start = performance.now();
  let [opened, ended] = [0, 0];
  let openedMs = 0;
  while (ended < total) {
    const at = performance.now() - start;
    for (const due = Math.min(total, (at * rate) / 1000); opened < due; opened++) {
      send(syn, opened);
      send(ack, opened);
    }
    if (opened === total && openedMs === 0) openedMs = at;
    for (const due = Math.min(opened, ((at - endAfterMs) * rate) / 1000); ended < due; ended++)
      send(fin, ended);
    await sleep(stepMs);
  }
  return { tookMs: performance.now() - start, openedMs };
}

/** Processor time a process has had, seconds (proc(5): a hundredth each). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** What a director says of its sync process, from the daemon-less `-L --daemon`'s source. */
function progressOf(site: SyncSite, director: Director): NonNullable<RunningSync['progress']> {
  // Its status says that the one without the addresses serves nobody.
  const words = [headgateLauncher, 'status', '-o', 'json'];
  const { sync } = JSON.parse(site.lab.run(director, process.execPath, words).stdout) as {
    sync: RunningSync[];
  };
  return sync[0]!.progress!;
}

takePrecedence();
const site = await standUpSync('bench', { connections: 1 << 20 });
try {
  for (const [director, role] of [
    ['a', 'master'],
    ['b', 'backup'],
  ] as const) {
    site.restore(director, rules);
    if (key) await site.startEncrypted(director, role, key);
    else site.ipvsadm(director, '--start-daemon', role, '--mcast-interface', 'back');
  }
  site.activate('a');
  const mac = (node: string) =>
    site.lab.inside(node, () => withNetlink({}, listLinks)).find(({ name }) => name === 'front')!;
  const socket = site.lab.inside('client', () => openFrameSocket(mac('client').index));
  const before = { a: progressOf(site, 'a'), b: progressOf(site, 'b') };
  const cpuBefore = { a: cpuSeconds(before.a.pid), b: cpuSeconds(before.b.pid) };
  const { tookMs, openedMs } = await load(socket, mac('a').mac, mac('client').mac);
  await sleep(1000);
  const after = { a: progressOf(site, 'a'), b: progressOf(site, 'b') };
  const cpu = (one: Director) => cpuSeconds(after[one].pid) - cpuBefore[one];
  const share = (one: Director) => `${((cpu(one) * 100_000) / tookMs).toFixed(0)} %`;
  process.stdout.write(`${machine()}\n`);
  printTable(
    ['', 'new connections/s', 'told', 'messages', 'of a processor', 'us each', 'lag ms', 'refused', 'missed'],
    [
      ...(['a', 'b'] as const).map((one) => [
        one === 'a' ? 'tells' : 'hears',
        one === 'a' ? String(Math.round((rate * seconds * 1000) / openedMs)) : '',
        String(after[one].connections - before[one].connections),
        String(after[one].messages - before[one].messages),
        share(one),
        ((cpu(one) * 1e6) / (after[one].connections - before[one].connections)).toFixed(1),
        one === 'a' ? String(after.a.lagMs) : '',
        String(after[one].refused),
        String(after[one].missed ?? ''),
      ]),
    ],
  );
} finally {
  await site.down();
}
