import { describe, expect, it } from 'vitest';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { testIo } from '../../../test/golden/replay.ts';
import { HeadgateError } from '../../model/errors.ts';
import { runIpvsadm } from './run.ts';

async function run(
  words: string[],
  open: Parameters<typeof runIpvsadm>[2],
): Promise<{ status: number; stdout: string; stderr: string }> {
  const { io, text } = testIo();
  const status = await runIpvsadm(words, io, open);
  return { status, ...text() };
}

const neverOpened = (): never => {
  throw new Error('opened');
};

describe('the controller', () => {
  it.each([
    ['-h'],
    ['-v'],
    ['-A'],
    ['-A', '-t', '80'],
    ['-Q'],
    ['-L', 'extra'],
    ['--start-daemon', 'sideways'],
  ])('is not opened for %s %s %s', async (...words) => {
    const given = await run(['ipvsadm', ...words], async () => neverOpened());
    expect(given.stderr).not.toContain('opened');
  });

  it('is closed after a command, whatever came of it', async () => {
    for (const words of [['-L'], ['-D', '-t', '192.0.2.1:80'], ['-L', '-t', '192.0.2.1:80']]) {
      const controller = memoryController();
      await run(['ipvsadm', ...words], async () => controller);
      expect(controller.closed()).toBe(true);
    }
  });

  it('that cannot be opened is a failure with status 2', async () => {
    const given = await run(['ipvsadm', '-L'], async () => {
      throw new HeadgateError('HG_NOT_ROOT', 'no capability', { hint: 'Run it with sudo.' });
    });
    expect(given).toEqual({
      status: 2,
      stdout: '',
      stderr: "Can't initialize ipvs: Permission denied (you must be root)\nRun it with sudo.\n",
    });
  });

  it('that fails while it works is a failure with status 255', async () => {
    const controller = {
      ...memoryController(),
      apply: () => Promise.reject(new HeadgateError('HG_NOT_ROOT', 'the plane is gone')),
    };
    const given = await run(['ipvsadm', '-C'], async () => controller);
    expect(given.status).toBe(255);
    expect(given.stderr).toMatch(/^the plane is gone\n/);
  });
});

it('uses the name it was called by', async () => {
  const given = await run(['lvs'], async () => memoryController());
  expect(given.status).toBe(0);
  expect((await run(['lvs', '-Q'], async () => neverOpened())).stderr).toBe(
    "Try `lvs -h' or 'lvs --help' for more information.\n",
  );
  expect((await run(['lvs', '-h'], async () => neverOpened())).stdout).toContain(
    '\n  lvs -D virtual-service\n',
  );
});
