import { expect, test } from 'vitest';
import { exchangeable } from '../control/controller.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import { openMover, tellOfOtherPlane } from './migrate.ts';
import { openTurns } from './turns.ts';

const held = exchangeable(openMemoryPlane());

test('a second move is refused while one is under way or waits for its turn; a look is not', async () => {
  const turns = openTurns();
  let free = () => {};
  const others = new Promise<void>((done) => {
    free = done;
  });
  void turns.inTurn(() => others);
  const { migrate, isMoving } = openMover({
    ...{ held, turns, path: 'headgate.yaml', readFile: () => ({ dataPlane: 'auto' }) },
    sync: { meanwhile: (job) => job() },
    log: () => undefined,
    note: () => undefined,
    exchanged: async () => undefined,
  });
  const move = 'ipvs-to-ebpf' as const;
  const elsewhere = 'Cannot move: the daemon forwards by memory';
  const look = migrate({ move, yes: false });
  expect(isMoving()).toBe(false);
  const first = migrate({ move, yes: true });
  expect(isMoving()).toBe(true);
  for (const yes of [true, false])
    await expect(migrate({ move, yes })).rejects.toMatchObject({
      code: 'HG_MOVE',
      message: 'Cannot move: a move is under way',
    });
  free();
  await expect(look).rejects.toThrow(elsewhere);
  await expect(first).rejects.toThrow(elsewhere);
  expect(isMoving()).toBe(false);
  await expect(migrate({ move, yes: true })).rejects.toThrow(elsewhere);
});

test.each([
  ['ipvs', 'ebpf', [{ dataPlane: 'ipvs', configured: 'ebpf', next: 'headgate migrate ipvs-to-ebpf' }]],
  ['ebpf', 'ipvs', [{ dataPlane: 'ebpf', configured: 'ipvs', next: 'headgate migrate ebpf-to-ipvs' }]],
  ['ebpf', 'proxy', [{ dataPlane: 'ebpf', configured: 'proxy', next: 'start the daemon again' }]],
  ['ipvs', 'auto', []],
  ['ebpf', 'ebpf', []],
] as const)('on %s, a file that says %s', (name, dataPlane, wanted) => {
  const told: unknown[] = [];
  tellOfOtherPlane({ capabilities: { name, description: '' } }, { dataPlane }, (_level, _what, more) =>
    told.push(more),
  );
  expect(told).toEqual(wanted);
});
