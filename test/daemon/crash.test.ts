import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createNamedNetns, deleteNamedNetns, runInNetns } from '../../src/sys/netns.ts';
import { amount, type Numbers, randomNumbers, startOf } from '../packets/random.ts';
import { requires } from '../requirements.ts';
import { launchers, openSite, type Site } from './site.ts';

const services = 200;

/** Weights of the two servers of each service, by the number of the service; a service that is left out is not there. */
type Configuration = ReadonlyMap<number, readonly [number, number]>;

function randomConfiguration(random: Numbers): Configuration {
  return new Map(
    Array.from({ length: services }, (_, i) => i)
      .filter((i) => i === 0 || random.below(12) > 0)
      .map((i) => [i, [1 + random.below(9), 1 + random.below(9)]] as const),
  );
}

const yamlOf = (configuration: Configuration): string =>
  [
    'virtualServices:',
    ...[...configuration].map(
      ([i, [one, two]]) =>
        `  - { name: s${i}, address: 192.0.2.${i}:80, scheduler: rr, method: masquerade, realServers: [ { address: 10.0.0.${i}:80, weight: ${one} }, { address: 10.0.1.${i}:80, weight: ${two} } ] }`,
    ),
    '',
  ].join('\n');

const serviceRule = (i: number) => `-A -t 192.0.2.${i}:80 -s rr`;
const rulesOf = (configuration: Configuration): string[] =>
  [...configuration]
    .flatMap(([i, [one, two]]) => [
      serviceRule(i),
      `-a -t 192.0.2.${i}:80 -r 10.0.0.${i}:80 -m -w ${one}`,
      `-a -t 192.0.2.${i}:80 -r 10.0.1.${i}:80 -m -w ${two}`,
    ])
    .toSorted();

requires(
  'root',
  'netns',
  'bpf',
  'ip',
)('the state of a daemon', () => {
  let site: Site;
  beforeEach(() => {
    site = openSite();
  });
  afterEach(() => site.close());

  it('survives a kill in the middle of a configuration: each rule is the old or the new one, and no change is lost or invented', async () => {
    const from = startOf('CRASH_START');
    const random = randomNumbers(from);
    const underway = join(dirname(site.socket), 'plane', 'applying.json');
    let halfway = 0;
    let current = randomConfiguration(random);
    site.write(yamlOf(current));
    let daemon = await site.start();
    // What somebody decides by hand stays, whatever happens.
    const byHand = '-a -t 192.0.2.0:80 -r 10.0.0.0:80 -m -w 77';
    expect(site.run('ipvsadm', ...byHand.replace('-a', '-e').split(' ')).status).toBe(0);
    const withByHand = (rules: string[]) =>
      rules.map((rule) => (rule.includes('-r 10.0.0.0:80 ') ? byHand : rule)).toSorted();
    const rounds = amount({ short: 5, usual: 20, long: 200 });
    for (let round = 0; round < rounds; round++) {
      const label = `CRASH_START=${from}, round ${round}`;
      const next = randomConfiguration(random);
      site.write(yamlOf(next));
      daemon.process.kill('SIGHUP');
      // At a random moment, or shortly after the first step became possible.
      if (random.below(2) === 0) await sleep(random.below(500));
      else {
        const deadline = performance.now() + 5_000;
        while (!existsSync(underway) && performance.now() < deadline);
        const until = performance.now() + random.below(30);
        while (performance.now() < until);
      }
      expect(await daemon.end('SIGKILL'), label).toBe('SIGKILL');
      if (existsSync(underway)) halfway++;
      const [old, made] = [withByHand(rulesOf(current)), withByHand(rulesOf(next))];
      const found = site.rules();
      expect(found, label).toContain(byHand);
      expect(
        found.filter((rule) => !old.includes(rule) && !made.includes(rule)),
        label,
      ).toEqual([]);
      const both = old.filter((rule) => made.includes(rule));
      expect(
        both.filter((rule) => !found.includes(rule)),
        label,
      ).toEqual([]);
      // The same file again completes it; another one takes its place; the old one takes it back.
      current = random.pick([next, randomConfiguration(random), current]);
      site.write(yamlOf(current));
      daemon = await site.start();
      expect(site.rules().toSorted(), label).toEqual(withByHand(rulesOf(current)));
      const { kept, steps, strangers } = JSON.parse(
        site.run('headgate', 'plan', '-o', 'json', site.file).stdout,
      );
      expect({ steps, strangers }, label).toEqual({ steps: [], strangers: [] });
      expect(kept, label).toEqual([
        expect.objectContaining({
          kind: 'edit-destination',
          destination: expect.objectContaining({ weight: 77 }),
        }),
      ]);
    }
    expect(halfway, `CRASH_START=${from}: of ${rounds} rounds none was cut off halfway`).toBeGreaterThan(0);
    await daemon.end('SIGTERM');
  }, 1_800_000);

  it('keeps its state before there is a plane: commands of other namespaces leave it alone', async () => {
    site.write('virtualServices: []');
    await site.start();
    const applied = join(dirname(site.socket), 'plane', 'applied.json');
    expect(existsSync(applied)).toBe(true);
    const other = `${site.netns}-other`;
    createNamedNetns(other);
    try {
      const { status, stderr } = runInNetns(other, process.execPath, [launchers.ipvsadm, '-L', '-n']);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    } finally {
      deleteNamedNetns(other);
    }
    expect(existsSync(applied)).toBe(true);
  });

  it('is said to be unusable where it is cut off, and stops nobody', async () => {
    const configuration: Configuration = new Map([[1, [1, 2]]]);
    site.write(yamlOf(configuration));
    await (await site.start()).end('SIGTERM');
    const applied = join(dirname(site.socket), 'plane', 'applied.json');
    const whole = readFileSync(applied, 'utf8');
    // Every length is tried where it is read (src/control/whole-file.test.ts); here some, with the whole daemon.
    const lengths = [0, 1, Math.floor(whole.length / 2), whole.length - 2];
    for (const [index, length] of lengths.entries()) {
      writeFileSync(applied, whole.slice(0, length));
      const daemon = await site.start();
      expect(daemon.log()).toMatch(
        new RegExp(`error what the last configuration made is not known.*${applied}`),
      );
      expect(site.rules().toSorted()).toEqual(rulesOf(configuration));
      await daemon.end('SIGTERM');
      // The number of the one before is known from the history: none is given twice.
      expect(JSON.parse(readFileSync(applied, 'utf8')).generation).toBe(index + 2);
    }
    rmSync(applied);
    expect((await site.start()).log()).not.toContain('not known');
  });
});
