import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { keeperProgram } from '../../src/ha/program.ts';
import { netnsPath, runInNetns, spawnInNetns, withNetns } from '../../src/sys/netns.ts';
import type { FrameSocket } from '../../src/sys/raw.ts';
import { requires } from '../requirements.ts';
import { openEar, order, vips, wordsHeard } from './group.ts';
import { layWire, until, type Wire } from './link.ts';

/*
 * What a group that takes over says, in the order in which the wire has it. A master that yields serves until it hears of its
 * successor, so the network has to know by then; and what the network is told of must be there, with all that belongs to it.
 */

requires(
  'root',
  'netns',
  'ip',
)('a group that takes over', () => {
  let wire: Wire;
  beforeEach(() => {
    wire = layWire(`hgoa-${process.pid}`, `hgob-${process.pid}`, { make: true });
  });
  afterEach(() => wire.close());

  it('holds all of its addresses before it announces the first', () => {
    const inside = join(import.meta.dirname, 'take-over-inside.ts');
    const { stdout, stderr } = runInNetns(wire.a, process.execPath, ['--import', 'tsx', inside]);
    expect(stderr).toBe('');
    const { entered, said } = JSON.parse(stdout);
    expect(entered.map((one: { said: string[] }) => one.said)).toEqual([[], []]);
    expect(entered.at(-1).held).toEqual(vips);
    expect(said.slice(0, 2).toSorted()).toEqual(vips.map((vip) => `announcement ${vip}`));
  });

  it('tells the network of all of its addresses before it tells the other director', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'headgate-order-'));
    const path = join(folder, 'failover.sock');
    const frames: FrameSocket = withNetns(netnsPath(wire.b), openEar);
    const ours: ChildProcess = spawnInNetns(wire.a, process.execPath, keeperProgram(path), {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    let channel: Socket | undefined;
    try {
      await until(() => existsSync(path), 'it listens');
      channel = connect(path);
      await once(channel, 'connect');
      channel.write(`${JSON.stringify({ kind: 'orders', orders: order })}\n`);
      const said: string[] = [];
      await until(() => {
        for (const word of wordsHeard(frames, 'others')) if (said.at(-1) !== word) said.push(word);
        return said.includes('advertisement 51') && said.includes('advertisement 52');
      }, 'both were advertised');
      const firstAdvertised = said.findIndex((word) => word.startsWith('advertisement'));
      expect(said.slice(0, firstAdvertised).toSorted()).toEqual(vips.map((vip) => `announcement ${vip}`));
    } finally {
      channel?.destroy();
      const ended = once(ours, 'exit');
      ours.kill('SIGTERM');
      await ended;
      frames.close();
      rmSync(folder, { recursive: true });
    }
  });
});
