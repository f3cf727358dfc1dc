import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { answer, testIo } from '../../../test/golden/replay.ts';
import type { Operation } from '../../model/table.ts';
import { runService } from './service.ts';

const rules = '-A -t 192.0.2.1:80 -s rr\n-a -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 3\n';
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-service-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function service(
  action: string,
  controller = memoryController(),
): Promise<{ status: number; stdout: string; stderr: string; table: string }> {
  const { io, text } = testIo('', { IPVSADM_RULES: join(folder, 'sub', 'rules') });
  const status = await runService(['ipvsadm', action], io, async () => controller);
  return {
    status,
    ...text(),
    table: (await answer('ipvsadm -S -n', '', controller)).stdout,
  };
}

it('saves the table where the next start finds it', async () => {
  const before = memoryController();
  await answer('ipvsadm -R', rules, before);
  expect(await service('save', before)).toMatchObject({ status: 0, stderr: '' });
  const file = join(folder, 'sub', 'rules');
  expect(readFileSync(file, 'utf8')).toBe(rules);
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(existsSync(`${file}.new`)).toBe(false);
  const after = memoryController();
  await answer('ipvsadm -A -t 203.0.113.9:80', '', after);
  expect(await service('start', after)).toMatchObject({ status: 0, stderr: '', table: rules });
  expect((await service('status', after)).stdout).toContain('TCP  192.0.2.1:80 rr\n  -> 198.51.100.1:80');
  expect(await service('reload', after)).toMatchObject({ status: 0, table: rules });
  expect(await service('restart', after)).toMatchObject({ status: 0, table: rules });
  expect(await service('stop', after)).toMatchObject({ status: 0, table: '' });
});

it('saves thresholds and timeouts, which ipvsadm-save leaves out', async () => {
  const kept = rules.replace('-w 3', '-w 3 -x 20 -y 5');
  const before = memoryController();
  await answer('ipvsadm -R', `${kept}--set 100 20 30\n`, before);
  await service('save', before);
  expect(readFileSync(join(folder, 'sub', 'rules'), 'utf8')).toBe(`${kept}--set 100 20 30\n`);
  const after = memoryController();
  expect(await service('start', after)).toMatchObject({ status: 0, stderr: '', table: rules });
  const { services, timeouts } = await after.read();
  expect(services[0]?.destinations[0]?.destination).toMatchObject({ upperThreshold: 20, lowerThreshold: 5 });
  expect(timeouts).toEqual({ tcp: 100, tcpFin: 20, udp: 30 });
  expect(await service('reload', after)).toMatchObject({ status: 0, stderr: '' });
  expect((await after.read()).services).toEqual(services);
});

it('reloads without touching what stays as it is', async () => {
  const controller = memoryController();
  await answer('ipvsadm -R', `${rules}-a -t 192.0.2.1:80 -r 198.51.100.2:80 -m -w 1\n`, controller);
  await service('save', controller);
  await answer(
    'ipvsadm -R',
    '-d -t 192.0.2.1:80 -r 198.51.100.2:80\n-A -u 192.0.2.1:53 -s rr\n-e -t 192.0.2.1:80 -r 198.51.100.1:80 -m -w 5\n',
    controller,
  );
  const applied: string[] = [];
  const watched = {
    ...controller,
    apply: (operations: readonly Operation[]) => {
      applied.push(...operations.map(({ kind }) => kind));
      return controller.apply(operations);
    },
  };
  expect(await service('reload', watched)).toMatchObject({
    status: 0,
    stderr: '',
    table: `${rules}-a -t 192.0.2.1:80 -r 198.51.100.2:80 -m -w 1\n`,
  });
  expect(applied).toEqual(['add-destination', 'edit-destination', 'delete-service']);
});

it('keeps the table when there are no rules, or wrong ones', async () => {
  const controller = memoryController();
  await answer('ipvsadm -R', rules, controller);
  const missing = await service('start', controller);
  expect(missing).toMatchObject({ status: 6, table: rules });
  expect(missing.stderr).toMatch(/^Cannot load ".*rules": there is no such file; run "ipvsadm service save"/);
  await service('save', memoryController());
  writeFileSync(join(folder, 'sub', 'rules'), 'nonsense\n');
  expect(await service('restart', controller)).toMatchObject({ status: 2, table: rules });
});

it('names the actions when it does not know one', async () => {
  expect(await service('panic')).toMatchObject({
    status: 2,
    stderr: 'Cannot do "service panic": choose one of start, stop, restart, reload, save, status.\n',
  });
});
