import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { answer } from '../../../test/golden/replay.ts';
import type { Controller } from '../../control/controller.ts';
import type { Operation } from '../../model/table.ts';

const samples = fileURLToPath(new URL('../../../test/golden/rules/', import.meta.url));
const plain = readFileSync(join(samples, 'plain.rules'), 'utf8');

describe('rules files', () => {
  it.each(readdirSync(samples))('%s gives the table of plain.rules', async (name) => {
    const controller = memoryController();
    expect(await answer('ipvsadm -R', readFileSync(join(samples, name)), controller)).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
    expect((await answer('ipvsadm -S -n', '', controller)).stdout).toBe(plain);
  });

  it('applies nothing when a line is wrong, and names the line', async () => {
    const controller = memoryController();
    const rules = `${plain}\n# next: no number\n-a -t 192.0.2.80:80 -r 198.51.100.13 -w heavy\n-C\n`;
    const given = await answer('ipvsadm -R', rules, controller);
    expect(given).toEqual({
      status: 2,
      stdout: '',
      stderr: 'line 10: illegal weight specified\nNothing was changed: correct line 10 and restore again.\n',
    });
    expect((await answer('ipvsadm -S -n', '', controller)).stdout).toBe('');
  });

  it('keeps the old table when ipvsadm-restore is given a wrong line', async () => {
    const controller = memoryController();
    await answer('ipvsadm-restore', plain, controller);
    expect((await answer('ipvsadm-restore', '-A -t nonsense\n', controller)).status).toBe(2);
    expect((await answer('ipvsadm -S -n', '', controller)).stdout).toBe(plain);
  });

  it('refuses -R inside -R', async () => {
    const given = await answer('ipvsadm -R', '-R\n', memoryController());
    expect(given.status).toBe(2);
    expect(given.stderr).toMatch(/^line 1: Try /);
  });
});

describe('10,000 rules', () => {
  it('are handed to the data plane in one call, in order, within two seconds', async () => {
    const lines = Array.from({ length: 100 }, (_, service) => [
      `-A -t 10.0.${service}.1:80 -s rr`,
      ...Array.from(
        { length: 99 },
        (_, server) => `-a -t 10.0.${service}.1:80 -r 172.16.${service}.${server}:80 -m -w ${server}`,
      ),
    ]).flat();
    const calls: (readonly Operation[])[] = [];
    const controller: Controller = {
      ...memoryController(),
      apply: async (operations) => {
        calls.push(operations);
        return operations.map(() => undefined);
      },
    };
    expect((await answer('ipvsadm -R', lines.join('\n'), controller)).status).toBe(0);
    expect(calls.map((operations) => operations.length)).toEqual([10_000]);
    expect(calls[0]?.[101]).toMatchObject({
      kind: 'add-destination',
      id: { address: '10.0.1.1' },
      destination: { address: '172.16.1.0' },
    });
  });
});

const more = process.env.EXTRA_FIXTURES;

describe.skipIf(!more)('rules of EXTRA_FIXTURES', () => {
  const folder = more ?? '';
  const files = (more ? readdirSync(more, { recursive: true, encoding: 'utf8' }) : []).filter((file) =>
    /ipvsadm(\.rules|\.saved$|-(nat-)?commands(\.fixed)?\.sh$)/.test(file),
  );

  it.each(files)('%s loads', async (file) => {
    const controller = memoryController();
    expect(await answer('ipvsadm -R', readFileSync(join(folder, file)), controller)).toEqual({
      status: 0,
      stdout: '',
      stderr: '',
    });
    const rules = readFileSync(join(folder, file), 'utf8')
      .split('\n')
      .filter((line) => /(^| )-[Aa]/.test(line.replaceAll('\u00a0', ' ')));
    expect((await answer('ipvsadm -S -n', '', controller)).stdout.trimEnd().split('\n')).toHaveLength(
      rules.length,
    );
  });
});
