import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { openMemoryPlane } from '../dataplane/memory/plane.ts';
import type { NewEvent } from '../model/event.ts';
import type { Controller } from './controller.ts';
import { generationNumbers, keptGenerations, nextGeneration, readGeneration } from './generations.ts';
import { readHistory, reportGeneration } from './history.ts';
import type { Origin } from './note-generation.ts';
import { intend, type Order, putInForce } from './reconcile.ts';
import { intendRollback, keptGeneration, rollbackOrigin, standingRollback } from './rollback.ts';
import { wantedOf } from './wanted.ts';

let directory: string;
let state: string;
let file: string;
let controller: Controller;
let noted: NewEvent[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headgate-generations-'));
  state = `${directory}-state`;
  file = `${directory}.yaml`;
  process.env.HEADGATE_STATE = state;
  controller = { ...openMemoryPlane(), directory };
  noted = [];
});
afterEach(() => {
  delete process.env.HEADGATE_STATE;
  for (const path of [directory, state, file]) rmSync(path, { recursive: true, force: true });
});

const yaml = (weights: Record<string, number>, more = '') => `${more}
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wlc
    method: masquerade
    realServers:
${Object.entries(weights)
  .map(
    ([name, weight]) => `      - { name: ${name}, address: 10.0.0.${name.slice(3)}:80, weight: ${weight} }\n`,
  )
  .join('')}`;

const checked = (check: string, more = '') =>
  `${yaml({ web1: 1 }, more)}    check: ${check}\n    quorum: 1\n`;

const origin = (more: Partial<Origin> = {}): Origin => ({
  ...{ file, now: new Date(0), note: (event: NewEvent) => void noted.push(event) },
  ...more,
});

async function put(text: string, more: Partial<Origin> = {}): Promise<number> {
  const wanted = wantedOf(loadText(text, file).configuration!);
  const intention = await intend(controller, wanted);
  const texts = [{ path: file, text }];
  return putInForce(controller, wanted, intention, origin({ by: 'reload', texts, ...more }));
}

async function rollBack(to: number, order: Order = {}): Promise<number | undefined> {
  const target = keptGeneration(directory, to);
  const { again, intention, isIdle } = await intendRollback(controller, target, order);
  if (isIdle) return undefined;
  return putInForce(controller, again.wanted, intention, origin(rollbackOrigin(target, file)));
}

const weights = async () => {
  const { services } = await controller.read();
  const found = services.flatMap(({ destinations }) => destinations.map(({ destination }) => destination));
  return Object.fromEntries(found.map(({ address, weight }) => [`web${address.at(-1)}`, weight]));
};

describe('what is kept of a configuration', () => {
  test('is all that it takes to put it in force again, and what it changed', async () => {
    await put(yaml({ web1: 3, web2: 1 }));
    await put(yaml({ web1: 0, web3: 1 }, 'timeouts: { tcp: 100s }'));
    expect(readGeneration(state, 2)).toMatchObject({
      ...{ generation: 2, at: '1970-01-01T00:00:00.000Z', file, by: 'reload', own: false },
      summary:
        '+1 ~2 -1: + web/web3 10.0.0.3:80 masquerade, weight 1; web/web1 weight 3 -> 0; - web/web2 10.0.0.2:80 masquerade, weight 1; and 1 more',
      timeouts: { tcp: 100, tcpFin: 120, udp: 300 },
      names: {
        'tcp 192.0.2.10:80': 'web',
        'tcp 192.0.2.10:80 10.0.0.1:80': 'web1',
        'tcp 192.0.2.10:80 10.0.0.3:80': 'web3',
      },
      files: [{ path: file, text: yaml({ web1: 0, web3: 1 }, 'timeouts: { tcp: 100s }') }],
    });
    expect(reportGeneration(directory, 2)).toMatchObject({
      ...{ isInForce: true, before: 1 },
      steps: [
        { sign: '+', what: 'web/web3' },
        { sign: '~', what: 'web/web1', detail: 'weight 3 -> 0' },
        { sign: '-', what: 'web/web2' },
        { sign: '~', what: 'timeouts', detail: 'tcp 900 s -> 100 s' },
      ],
    });
    expect(statSync(join(state, 'generations', '2.json')).mode & 0o777).toBe(0o600);
    expect(noted.map(({ kind }) => kind)).toEqual(['configuration-applied', 'configuration-applied']);
  });

  test('is kept of the newest twenty', async () => {
    for (let weight = 1; weight <= 25; weight++) await put(yaml({ web1: weight }));
    expect(keptGenerations).toBe(20);
    expect(generationNumbers(state)).toEqual(Array.from({ length: 20 }, (_one, index) => 25 - index));
    // What changed is not known where the one before is gone.
    expect(reportGeneration(directory, 6)).not.toHaveProperty('steps');
    expect(() => keptGeneration(directory, 5)).toThrow(
      /Cannot find generation "5": there are 25, 24, .*, 6$/,
    );
  });

  test('is nothing where it cannot be written, and the configuration is in force', async () => {
    writeFileSync(state, 'no folder');
    const failures: string[] = [];
    expect(await put(yaml({ web1: 4 }), { failed: (reason) => failures.push(reason) })).toBe(1);
    expect(await weights()).toEqual({ web1: 4 });
    expect(failures).toEqual([expect.stringMatching(/EEXIST|ENOTDIR/)]);
    expect(noted).toHaveLength(1);
  });

  test('is anything it says, also beside the rules', async () => {
    await put(checked('{ type: tcp }'));
    expect(await put(checked('{ type: tcp, interval: 7s }'))).toBe(2);
    expect(await put(`${yaml({ web1: 1 })}    check: { type: tcp, interval: 7s }\n    quorum: 2\n`)).toBe(3);
    const failover = 'failover: { connectionSync: { interface: lo } }\n';
    expect(await put(checked('{ type: tcp }', failover))).toBe(4);
    expect(await put(checked('{ type: tcp }').replace('name: web1', 'name: first'))).toBe(5);
    expect(readHistory(directory).generations.map(({ summary }) => summary)).toEqual([
      '+0 ~2 -0: failover connectionSync; web/first name',
      '+0 ~2 -0: failover connectionSync; web check (interval), quorum 2 -> 1',
      '+0 ~1 -0: web quorum 1 -> 2',
      '+0 ~1 -0: web check (interval)',
      '+2 ~0 -0: + web scheduler wlc; + web/web1 10.0.0.1:80 masquerade, weight 1',
    ]);
    expect(reportGeneration(directory, 2).steps).toEqual([
      { sign: '~', what: 'web', detail: 'check (interval)' },
    ]);
  });

  test('is not how it is written', async () => {
    await put(checked('{ type: tcp, interval: 7s, rise: 2 }'));
    const other = checked('{ rise: 2, interval: 7000ms, type: tcp, fall: 3 }', '# a word\n');
    expect(await put(other.replace('    quorum: 1\n', ''))).toBe(1);
  });

  test('is not listed where it was cut off, and its number is not given again', async () => {
    await put(yaml({ web1: 1 }));
    await put(yaml({ web1: 2 }));
    const path = join(state, 'generations', '2.json');
    writeFileSync(path, readFileSync(path).subarray(0, 100));
    expect(readHistory(directory)).toMatchObject({ inForce: 2, generations: [{ generation: 1 }] });
    rmSync(directory, { recursive: true });
    expect(await put(yaml({ web1: 3 }))).toBe(3);
  });
});

describe('the number of a generation', () => {
  test('is greater than every one before, whatever is removed in between', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom('put', 'same', 'plane', 'state'), { maxLength: 12 }),
        async (acts) => {
          for (const path of [directory, state]) rmSync(path, { recursive: true, force: true });
          controller = { ...openMemoryPlane(), directory };
          let [last, weight, removed] = [0, 0, ''];
          for (const act of acts) {
            // One of the two sources is always left.
            if ((act === 'plane' || act === 'state') && removed === '') {
              rmSync(act === 'plane' ? directory : state, { recursive: true, force: true });
              if (act === 'plane') controller = { ...openMemoryPlane(), directory };
              removed = act;
            } else if (act === 'put' || (act === 'same' && removed === 'plane')) {
              if (act === 'put') weight = (weight % 60) + 1;
              if (weight === 0) continue;
              const generation = await put(yaml({ web1: weight }));
              expect(generation).toBe(last + 1);
              [last, removed] = [generation, ''];
            } else if (act === 'same' && weight > 0) expect(await put(yaml({ web1: weight }))).toBe(last);
          }
        },
      ),
      { numRuns: 30 },
    );
  });

  test('counts a change of timeouts alone, once', async () => {
    const numbers = [];
    for (const more of ['', 'timeouts: { tcp: 50s }', 'timeouts: { tcp: 50s }', ''])
      numbers.push(await put(yaml({ web1: 1 }, more)));
    expect(numbers).toEqual([1, 2, 2, 2]);
  });

  test('begins with 1', () => expect(nextGeneration(directory)).toBe(1));
});

describe('a rollback', () => {
  test('puts rules and timeouts back, as a new generation', async () => {
    await put(yaml({ web1: 3, web2: 1 }));
    await put(yaml({ web3: 1 }, 'timeouts: { tcp: 100s }'));
    expect(await rollBack(1)).toBe(3);
    expect(await weights()).toEqual({ web1: 3, web2: 1 });
    expect((await controller.read()).timeouts.tcp).toBe(900);
    expect(readGeneration(state, 3)).toMatchObject({ by: 'rollback', rolledBackTo: 1 });
    expect(noted.at(-1)).toMatchObject({ kind: 'rolled-back', generation: 3, to: 1 });
    expect(readHistory(directory).inForce).toBe(3);
  });

  test('puts back what is beside the rules', async () => {
    await put(checked('{ type: tcp }', 'alerts: { command: { command: [/bin/true] } }\n'));
    await put(checked('{ type: tcp, port: 8080 }'));
    const target = keptGeneration(directory, 1);
    const { again, intention, isIdle } = await intendRollback(controller, target);
    expect({ isIdle, settings: intention.settings.map(({ what, detail }) => `${what} ${detail}`) }).toEqual({
      isIdle: false,
      settings: ['alerts command', 'web check (port)'],
    });
    const { pools, reactions } = again.wanted;
    expect([...pools!.get('tcp 192.0.2.10:80')!.checks.values()]).toMatchObject([[{ type: 'tcp' }]]);
    expect(reactions?.alerts.command).toHaveLength(1);
    expect(await rollBack(1)).toBe(3);
    expect(await rollBack(1)).toBeUndefined();
    expect(await rollBack(2)).toBe(4);
  });

  test('to what is in force changes nothing', async () => {
    await put(yaml({ web1: 1 }));
    await put(yaml({ web1: 2 }));
    expect(await rollBack(2)).toBeUndefined();
    await rollBack(1);
    expect(await rollBack(1)).toBeUndefined();
    expect(await rollBack(3)).toBeUndefined();
    expect(generationNumbers(state)).toEqual([3, 2, 1]);
  });

  test('leaves what was changed at runtime over it, or takes it back', async () => {
    await put(yaml({ web1: 3, web2: 1 }));
    await put(yaml({ web1: 3, web2: 2 }));
    const id = { kind: 'address', protocol: 'tcp', address: '192.0.2.10', port: 80 } as never;
    const [entry] = (await controller.read()).services;
    const { destination } = entry!.destinations[0]!;
    await controller.apply([{ kind: 'edit-destination', id, destination: { ...destination, weight: 0 } }]);
    await rollBack(1);
    expect(await weights()).toEqual({ web1: 0, web2: 1 });
    await rollBack(1, { dropRuntimeChanges: true });
    expect(await weights()).toEqual({ web1: 3, web2: 1 });
  });

  test('says which file cannot be read', async () => {
    await put(yaml({ web1: 1 }));
    await put(yaml({ web1: 2 }));
    const path = join(state, 'generations', '1.json');
    writeFileSync(path, readFileSync(path, 'utf8').slice(0, 50));
    await expect(rollBack(1)).rejects.toThrow(`Cannot read "${path}": wanted a whole document`);
    await expect(rollBack(3)).rejects.toThrow('Cannot find generation "3": there are 2, 1');
  });

  test('stands as long as the files are as they were when they were put aside', async () => {
    const bad = yaml({ web1: 0 });
    writeFileSync(file, bad);
    await put(yaml({ web1: 1 }));
    await put(bad, { texts: [{ path: file, text: bad }] });
    await rollBack(1);
    expect(standingRollback(directory, [{ path: file, text: bad }])).toMatchObject({ generation: 3 });
    expect(standingRollback(directory, [{ path: file, text: `${bad}#` }])).toBeUndefined();
    expect(standingRollback(directory, [])).toBeUndefined();
    await put(bad);
    expect(standingRollback(directory, [{ path: file, text: bad }])).toBeUndefined();
  });

  test('is over when the file says what it says', async () => {
    const [good, bad] = [yaml({ web1: 1 }), yaml({ web1: 0 })];
    writeFileSync(file, bad);
    await put(good);
    await put(bad);
    await rollBack(1);
    expect(await put(good)).toBe(4);
    expect(readGeneration(state, 4)).toMatchObject({ by: 'reload', summary: 'nothing changed' });
    expect(standingRollback(directory, [{ path: file, text: bad }])).toBeUndefined();
  });

  test('gives back the rules of any generation from any other', async () => {
    const some = fc.dictionary(fc.constantFrom('web1', 'web2', 'web3'), fc.nat({ max: 9 }), { minKeys: 1 });
    await fc.assert(
      fc.asyncProperty(fc.array(some, { minLength: 2, maxLength: 6 }), fc.nat(), async (all, pick) => {
        for (const path of [directory, state]) rmSync(path, { recursive: true, force: true });
        controller = { ...openMemoryPlane(), directory };
        const made = new Map<number, unknown>();
        for (const one of all) made.set(await put(yaml(one)), one);
        const to = [...made.keys()][pick % made.size]!;
        await rollBack(to);
        expect(await weights()).toEqual(made.get(to));
        expect(existsSync(state) && readdirSync(join(state, 'generations')).length).toBeGreaterThan(0);
      }),
      { numRuns: 30 },
    );
  });
});
