import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { patternBytes } from '../../src/lab/pattern.ts';
import { runToEnd } from '../../src/lab/processes.ts';
import { openLink } from '../../src/sys/bpf/link.ts';
import { openPinned, openPinnedMap } from '../../src/sys/bpf/pin.ts';
import { tcxSupported } from '../../src/sys/bpf/probe.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { listBpfFilters } from '../../src/sys/netlink/tc.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import { at, launcher, linkKinds, plans, type Site, smallTable, standUp } from '../network/site.ts';
import { askTcp, streamOn } from '../network/sockets.ts';

/*
 * Runs in a guest: conversations through the director while its program is swapped. EARLIER is the launcher of a build
 * with other records (test/takeover/earlier-build.ts).
 */

const commandTimeoutMs = 240_000;
/** Slow enough to leave an emulated processor to the commands, quick enough for many exchanges within each. */
const pauseMs = 300;
const chunkBytes = 8 * 1024;

/** A connection that sends the pattern and compares what an echo server sends back, until it is told to end. */
type Conversation = {
  /** Bytes that went there and came back. */
  echoed(): number;
  /** Sends no more; resolves when all has come back and the server has closed its side too. */
  end(): Promise<void>;
};

function converse(site: Site, target: { address: string; port: number }): Conversation {
  const socket = streamOn(site.lab, 'client', target, { timeoutMs: 60_000 });
  let [sent, echoed, ending] = [0, 0, false];
  const send = () => {
    if (ending) return void socket.end();
    socket.write(patternBytes(sent, chunkBytes));
    sent += chunkBytes;
  };
  const read = async () => {
    let greeted = false;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      // First the server says its name.
      const part = greeted ? chunk : chunk.subarray(chunk.indexOf('\n') + 1);
      greeted = true;
      if (!part.equals(patternBytes(echoed, part.length)))
        throw new Error(`bytes from ${echoed} on are not those that were sent`);
      echoed += part.length;
      if (echoed < sent) continue;
      await sleep(pauseMs);
      send();
    }
    if (!ending || echoed !== sent) throw new Error(`the connection ended after ${echoed} of ${sent} bytes`);
  };
  send();
  const done = read();
  // Looked at in end(): until then a broken connection shows as one that does not move.
  done.catch(() => undefined);
  return {
    echoed: () => echoed,
    end() {
      ending = true;
      return done;
    },
  };
}

describe('a program is swapped under live connections', () => {
  let site: Site;
  const conversations: Conversation[] = [];
  const services = [
    { target: { address: plans[4].vip, port: 7 }, flag: '-m', realOf: plans[4].backOf },
    { target: { address: plans[6].vip, port: 7 }, flag: '-m', realOf: plans[6].backOf },
    { target: { address: plans[4].sharedVip, port: 7 }, flag: '-g', realOf: plans[4].frontOf },
    { target: { address: plans[6].sharedVip, port: 7 }, flag: '-g', realOf: plans[6].frontOf },
  ];

  beforeAll(async () => {
    site = await standUp('swap', linkKinds[0], { serve: { tcp: [7] }, started: [1, 2] });
    const rules = services.flatMap(({ target: { address, port }, flag, realOf }) => [
      `-A -t ${at(address, port)} -s rr`,
      ...[1, 2].map((n) => `-a -t ${at(address, port)} -r ${at(realOf(n), port)} ${flag}`),
    ]);
    const restore = `printf '%s\\n' ${rules.map((rule) => `'${rule}'`).join(' ')} | "$0" "$1" -R`;
    await command('sh', '-c', restore, process.execPath, launcher);
    for (const { target } of services) conversations.push(converse(site, target), converse(site, target));
  });
  afterAll(() => site?.down());

  /** Runs a command on the director while the conversations go on. */
  async function command(...words: string[]): Promise<string> {
    const whole = ['env', `HEADGATE_CONNECTIONS=${smallTable.HEADGATE_CONNECTIONS}`, ...words];
    const result = await runToEnd(site.lab, 'director', whole, { timeoutMs: commandTimeoutMs });
    if (result.status !== 0) throw new Error(`${words.join(' ')}: ${result.stderr}`);
    return result.stdout;
  }
  const ipvsadm = (program: string, ...words: string[]) => command(process.execPath, program, ...words);

  /** The established connections as lines without their remaining time. */
  const connections = async (program: string) =>
    (await ipvsadm(program, '-L', '-n', '-c'))
      .split('\n')
      .filter((line) => line.includes('ESTABLISHED'))
      .map((line) => line.replace(/^TCP \S+ +/, ''))
      .sort();

  /** Per service and destination: connections, packets and bytes. */
  const counters = async (program: string) =>
    (await ipvsadm(program, '-L', '-n', '--stats', '--exact'))
      .split('\n')
      .slice(3)
      .map((line) => line.trim().split(/ +/).slice(1))
      .filter((words) => words.length > 0)
      .map(([name, ...counts]) => ({ name, counts: counts.map(Number) }));

  /** The programs on the director's devices: by tcx links where the kernel has them, else by filters. */
  function attached(): number[] {
    return withNetlink({ netns: netnsPath(site.lab.netns('director')) }, (netlink) =>
      ['front', 'back'].flatMap((device) => {
        const index = linkIndex(netlink, device);
        return (['ingress', 'egress'] as const).flatMap((direction) => {
          if (!tcxSupported())
            return listBpfFilters(netlink, index, direction).map(({ programId }) => programId ?? 0);
          const link = openLink(openPinned(join(site.pins, `link_${index}_${direction}`)));
          const { programId } = link.info();
          link.close();
          return [programId];
        });
      }),
    );
  }

  function onSettings<T>(work: (map: ReturnType<typeof openPinnedMap>) => T): T {
    const map = openPinnedMap(join(site.pins, 'map__data_settings'));
    try {
      return work(map);
    } finally {
      map.close();
    }
  }
  const layout = () => onSettings((map) => map.lookup(0)!.readUInt32LE(0));
  /** What the next command finds was set up by another build with the same records. */
  const pretendOtherBuild = () =>
    onSettings((map) => {
      const settings = mapRecords(map, 'settings');
      settings.set(0, 'build', 0x0b5e55ed, 0);
      settings.close();
    });

  async function moved(): Promise<void> {
    const before = conversations.map(({ echoed }) => echoed());
    const deadline = performance.now() + 60_000;
    while (conversations.some(({ echoed }, n) => echoed() <= before[n]!)) {
      if (performance.now() > deadline) {
        // The first that broke says why.
        await Promise.race([...conversations.map(({ end }) => end()), sleep(1000)]);
        throw new Error(`bytes echoed before and after: ${before}; ${conversations.map((c) => c.echoed())}`);
      }
      await sleep(10);
    }
  }

  const earlier = process.env.EARLIER!;
  const steps = [
    { name: 'by another build with the same records', by: launcher, before: pretendOtherBuild, same: true },
    { name: 'by an earlier build with other records', by: earlier, before: () => {}, same: false },
    { name: 'by this build again', by: launcher, before: () => {}, same: false },
  ];
  let found: Awaited<ReturnType<typeof look>>;
  const look = async (program: string) => ({
    connections: await connections(program),
    counters: await counters(program),
    programs: attached(),
    layout: layout(),
  });

  it('eight connections are open', async () => {
    await moved();
    found = await look(launcher);
    expect(found.connections).toHaveLength(conversations.length);
  });

  it.each(steps)('$name', async ({ by, before, same }) => {
    await moved();
    before();
    const echoed = conversations.map((one) => one.echoed());
    // The first command swaps, while the conversations are under way; and they go on.
    const connected = await connections(by);
    expect(connected).toEqual(found.connections);
    for (const [n, one] of conversations.entries()) expect(one.echoed(), `${n}`).toBeGreaterThan(echoed[n]!);
    await moved();
    const programs = attached();
    expect(programs).toHaveLength(4);
    for (const [n, id] of programs.entries()) expect(id).not.toBe(found.programs[n]);
    expect(layout() === found.layout).toBe(same);
    const countedOn = await counters(by);
    expect(countedOn.map(({ name }) => name)).toEqual(found.counters.map(({ name }) => name));
    for (const [n, { name, counts }] of countedOn.entries()) {
      const [made, inPackets, outPackets, inBytes, outBytes] = counts;
      const was = found.counters[n]!.counts;
      expect(made, `connections of ${name}`).toBe(was[0]);
      expect(inPackets, `packets in of ${name}`).toBeGreaterThan(was[1]!);
      expect(inBytes, `bytes in of ${name}`).toBeGreaterThan(was[3]!);
      expect(outPackets, `packets out of ${name}`).toBeGreaterThanOrEqual(was[2]!);
      expect(outBytes, `bytes out of ${name}`).toBeGreaterThanOrEqual(was[4]!);
    }
    found = { connections: connected, counters: countedOn, programs, layout: layout() };
  });

  it('every byte came back, and new connections go to both real servers', async () => {
    const ends = await Promise.allSettled(conversations.map(({ end }) => end()));
    expect(ends.map((one) => (one.status === 'rejected' ? String(one.reason) : 'whole'))).toEqual(
      conversations.map(() => 'whole'),
    );
    for (const { target } of services) {
      const names = [0, 1].map(() => askTcp(site.lab, 'client', target, { timeoutMs: 60_000 }));
      expect(names.sort()).toEqual(['real1', 'real2']);
    }
  });
});
