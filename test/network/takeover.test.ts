import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mapRecords } from '../../src/dataplane/ebpf/records.ts';
import { runToEnd } from '../../src/lab/processes.ts';
import { openLink } from '../../src/sys/bpf/link.ts';
import { openPinned, openPinnedMap } from '../../src/sys/bpf/pin.ts';
import { linkIndex } from '../../src/sys/netlink/link.ts';
import { withNetlink } from '../../src/sys/netlink/socket.ts';
import { netnsPath } from '../../src/sys/netns.ts';
import { requires } from '../requirements.ts';
import { at, launcher, linkKinds, plans, type Site, smallTable, standUp } from './site.ts';
import { streamOn } from './sockets.ts';
import { download, patternDigest, upload } from './transfer.ts';

const megabytes100 = 100 * 1000 * 1000;
const digest = { bytes: megabytes100, sha256: patternDigest(megabytes100) };

requires(
  'root',
  'netns',
  'bpf',
)('a transfer goes on', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    beforeAll(async () => {
      site = await standUp('takeover', kind, { serve: { http: [80, 8080] }, started: [1] });
    });
    afterAll(() => site?.down());

    const ways = [
      { method: 'masquerade', family: 4, vip: plans[4].vip, port: 8080, flag: '-m' },
      { method: 'direct-routing', family: 6, vip: plans[6].sharedVip, port: 80, flag: '-g' },
      { method: 'full-nat', family: 4, vip: plans[4].vip, port: 8080, flag: '--full-nat' },
    ] as const;

    it.each(ways)(
      'across kill -9 of a command, a new command and a newer build: $method',
      async ({ family, vip, port, flag }) => {
        const service = `-t ${at(vip, 80)}`;
        site.rules(`-A ${service} -s rr`, `-a ${service} -r ${at(plans[family].backOf(1), port)} ${flag}`);
        const target = { address: vip, port: 80 };
        let moved = 0;
        let stepsDone = false;
        // Both transfers are held back, the more the further they are, so that the steps fall into them.
        const pace = async (bytes: number) => {
          moved = Math.max(moved, bytes);
          if (!stepsDone) await setTimeout(bytes < megabytes100 / 2 ? 2 : 100);
        };
        const transfers = Promise.all([
          download(streamOn(site.lab, 'client', target), megabytes100, pace),
          upload(streamOn(site.lab, 'client', target), megabytes100, pace),
        ]);

        const steps = async () => {
          const programs = attachedPrograms(site);
          const victim = site.lab.spawn('director', process.execPath, [launcher, '-R'], {
            stdio: ['pipe', 'ignore', 'ignore'],
            env: smallTable,
          });
          const ended = once(victim, 'exit');
          victim.stdin!.on('error', () => undefined);
          victim.stdin!.end(
            `-e ${service} -r ${at(plans[family].backOf(1), port)} ${flag} -w 2\n`.repeat(40_000),
          );
          await setTimeout(250);
          victim.kill('SIGKILL');
          expect(await ended).toEqual([null, 'SIGKILL']);
          await command(site, '-Ln');
          // What the next command sees is a plane that another build has set up.
          expect(attachedPrograms(site)).toEqual(programs);
          pretendOtherBuild(site);
          await command(site, '-Ln');
          const swapped = attachedPrograms(site);
          expect(swapped.length).toBe(programs.length);
          for (const [i, id] of swapped.entries()) expect(id).not.toBe(programs[i]);
          await setTimeout(200);
          expect(moved).toBeGreaterThan(0);
          expect(moved).toBeLessThan(megabytes100 - 1_000_000);
          stepsDone = true;
        };
        const [done] = await Promise.all([transfers, steps().finally(() => (stepsDone = true))]);
        expect(done).toEqual([digest, digest]);
      },
    );
  });
});

async function command({ lab }: Site, ...words: string[]): Promise<void> {
  const { HEADGATE_CONNECTIONS } = smallTable;
  const { status, stderr } = await runToEnd(
    lab,
    'director',
    ['env', `HEADGATE_CONNECTIONS=${HEADGATE_CONNECTIONS}`, process.execPath, launcher, ...words],
    { timeoutMs: 30_000 },
  );
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
}

/** The programs on both directions of both devices, by the kernel's numbers. */
function attachedPrograms({ lab, pins }: Site): number[] {
  return ['front', 'back'].flatMap((device) => {
    const index = withNetlink({ netns: netnsPath(lab.netns('director')) }, (netlink) =>
      linkIndex(netlink, device),
    );
    return ['ingress', 'egress'].map((direction) => {
      const link = openLink(openPinned(join(pins, `link_${index}_${direction}`)));
      try {
        return link.info().programId;
      } finally {
        link.close();
      }
    });
  });
}

function pretendOtherBuild({ pins }: Site): void {
  const map = openPinnedMap(join(pins, 'map__data_settings'));
  const settings = mapRecords(map, 'settings');
  settings.set(0, 'build', 0x0b5e55ed, 0);
  settings.close();
  map.close();
}
