import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { patternBytes } from '../../src/lab/pattern.ts';
import { openPinnedMap } from '../../src/sys/bpf/pin.ts';
import { at, linkKinds, plans, type Site, smallTable, standUp } from '../network/site.ts';
import { askTcp, streamOn, tally } from '../network/sockets.ts';
import { patternDigest } from '../network/transfer.ts';
import { requires } from '../requirements.ts';
import { earlierBuild } from './earlier-build.ts';

const megabytes = 1_000_000;
const chunkBytes = 64 * 1024;

/** A transfer that waits half way until it is told to go on; rejects when the connection breaks. */
type Transfer = { readonly halfWay: Promise<void>; goOn(): void; readonly digest: Promise<string> };

function gate() {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { open, opened };
}

/** Reads `total` bytes of the pattern; the digest is of what arrived. */
function slowDownload(socket: Socket, total: number): Transfer {
  const [halfWay, rest] = [gate(), gate()];
  const read = async () => {
    socket.write(`GET /big?bytes=${total} HTTP/1.0\r\n\r\n`);
    const hash = createHash('sha256');
    let header = Buffer.alloc(0);
    let count = -1;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      let body = chunk;
      if (count < 0) {
        header = Buffer.concat([header, chunk]);
        const end = header.indexOf('\r\n\r\n');
        if (end < 0) continue;
        body = header.subarray(end + 4);
        count = 0;
      }
      hash.update(body);
      count += body.length;
      if (count >= total / 2) {
        halfWay.open();
        await rest.opened;
      }
      if (count === total) break;
    }
    return hash.digest('hex');
  };
  return { halfWay: halfWay.opened, goOn: rest.open, digest: read() };
}

/** Sends `total` bytes of the pattern; the digest is what the real server says it received. */
function slowUpload(socket: Socket, total: number): Transfer {
  const [halfWay, rest] = [gate(), gate()];
  const send = async () => {
    let answer = '';
    socket.on('data', (chunk) => {
      answer += chunk;
    });
    socket.write(`PUT / HTTP/1.0\r\nContent-Length: ${total}\r\n\r\n`);
    for (let sent = 0; sent < total; sent += chunkBytes) {
      if (sent >= total / 2) {
        halfWay.open();
        await rest.opened;
      }
      if (!socket.write(patternBytes(sent, Math.min(chunkBytes, total - sent)))) await once(socket, 'drain');
    }
    await once(socket, 'end');
    return (JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4)) as { sha256: string }).sha256;
  };
  return { halfWay: halfWay.opened, goOn: rest.open, digest: send() };
}

requires(
  'root',
  'netns',
  'bpf',
  'clang-16',
  'ip',
)('taking over a running table', () => {
  let earlier: string;
  beforeAll(() => {
    earlier = earlierBuild();
  });

  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('hgntakeover', kind);
    });
    afterAll(() => site?.down());

    const run = (launcher: string, ...words: string[]) => {
      const { status, stderr, stdout } = site.lab.run('director', process.execPath, [launcher, ...words], {
        env: smallTable,
      });
      if (status !== 0) throw new Error(`ipvsadm ${words.join(' ')}: status ${status}, ${stderr}`);
      return stdout;
    };

    const layout = () => {
      const settings = openPinnedMap(join(site.pins, 'map__data_settings'));
      try {
        return settings.lookup(0)!.readUInt32LE(0);
      } finally {
        settings.close();
      }
    };

    it('carries 100 MB each way through the change of layout, and back to the earlier build', async () => {
      const masquerade = plans[4].vip;
      const direct = plans[6].sharedVip;
      const full = plans[6].vip;
      for (const [address, method, realOf] of [
        [masquerade, '-m', plans[4].backOf],
        [direct, '-g', plans[6].frontOf],
        [full, '--full-nat', plans[6].frontOf],
      ] as const) {
        run(earlier, '-A', '-t', at(address, 80), '-s', 'rr');
        for (const n of [1, 2]) {
          run(earlier, '-a', '-t', at(address, 80), '-r', at(realOf(n), 80), method);
        }
      }
      run(earlier, '-A', '-t', at(masquerade, 7), '-s', 'rr');
      for (const n of [1, 2]) {
        run(earlier, '-a', '-t', at(masquerade, 7), '-r', at(plans[4].backOf(n), 7), '-m');
      }
      const open = (address: string) => streamOn(site.lab, 'client', { address, port: 80 });
      // Half of it is more than the sockets of both ends hold: nobody has closed half way.
      const size = 100 * megabytes;
      const transfers = [
        slowDownload(open(masquerade), size),
        slowUpload(open(masquerade), size),
        slowDownload(open(direct), size),
        slowUpload(open(direct), size),
        slowDownload(open(full), size),
        slowUpload(open(full), size),
      ];
      await Promise.all(transfers.map(({ halfWay }) => halfWay));
      const connections = () =>
        run(earlier, '-L', '-n', '-c')
          .split('\n')
          .filter((line) => line.includes('ESTABLISHED'))
          .map((line) => line.replace(/^TCP \S+ /, ''))
          .sort();
      const before = connections();
      expect(before).toHaveLength(transfers.length);
      const layoutBefore = layout();

      site.ipvsadm('-L', '-n');
      expect(layout()).not.toBe(layoutBefore);
      const after = site
        .ipvsadm('-L', '-n', '-c')
        .split('\n')
        .filter((line) => line.includes('ESTABLISHED'))
        .map((line) => line.replace(/^TCP \S+ /, ''))
        .sort();
      expect(after).toEqual(before);
      // New connections open in the table that was taken over, and counts agree with entries.
      expect(
        tally(Array.from({ length: 4 }, () => askTcp(site.lab, 'client', { address: masquerade, port: 7 }))),
      ).toEqual({
        real1: 2,
        real2: 2,
      });

      // And back: the earlier build finds its own layout gone and takes over in its turn.
      run(earlier, '-L', '-n');
      expect(layout()).toBe(layoutBefore);
      for (const transfer of transfers) transfer.goOn();
      expect(await Promise.all(transfers.map(({ digest }) => digest))).toEqual(
        transfers.map(() => patternDigest(size)),
      );
    });

    it('hands over the fast path at XDP, and tells it of its interfaces', () => {
      const programs = (): string[] =>
        site.lab
          .run('director', 'ip', ['-d', 'link', 'show', 'type', 'veth'])
          .stdout.match(/prog\/xdp id \d+ name headgate_xdp/g) ?? [];
      const interfaces = () => {
        const ports = openPinnedMap(join(site.pins, 'map_ports'));
        try {
          return Array.from({ length: ports.maxEntries }, (_, slot) =>
            ports.lookup(slot)!.readUInt32LE(0),
          ).filter((index) => index !== 0);
        } finally {
          ports.close();
        }
      };
      const variable = 'HEADGATE_XDP=front:generic,back:generic';
      const words = [variable, process.execPath, earlier, '-A', '-u', at(plans[4].vip, 53)];
      expect(site.lab.run('director', 'env', words, { env: smallTable }).status).toBe(0);
      const layoutBefore = layout();
      const [before, listed] = [programs(), interfaces()];
      expect([before.length, listed.length]).toEqual([2, 2]);

      site.ipvsadm('-L', '-n');
      expect(layout()).not.toBe(layoutBefore);
      const after = programs();
      expect(after).toHaveLength(2);
      expect(after.filter((program) => before.includes(program))).toEqual([]);
      expect(interfaces()).toEqual(listed);
    });
  });
});
