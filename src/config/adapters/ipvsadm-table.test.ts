import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fromLines, readGoldenFiles } from '../../../test/golden/ipvsadm/golden.ts';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { answer } from '../../../test/golden/replay.ts';
import { familyOf } from '../../model/address.ts';
import { destinationKey, serviceKey } from '../../model/service-id.ts';
import type { Table } from '../../model/table.ts';
import { schedulerNames, type VirtualService } from '../../model/virtual-service.ts';
import { toDesired } from '../desired.ts';
import type { Files } from '../files.ts';
import { type Imported, importFile } from '../import.ts';
import { loadConfiguration, loadText } from '../load.ts';
import { adapterFor } from './detect.ts';
import { machineNames } from './machine-names.ts';

/** A machine with one file, and the host names the golden files were recorded with. */
function machine(file: string | Uint8Array): Files {
  return {
    read: (path) => {
      if (path === '/etc/services') return readFileSync(join(golden, 'ipvsadm/services'));
      if (path === '/etc/hosts') return readFileSync(join(golden, 'ipvsadm/hosts'));
      return typeof file === 'string' ? new TextEncoder().encode(file) : file;
    },
    list: () => [],
    identity: (path) => path,
  };
}

const golden = fileURLToPath(new URL('../../../test/golden/', import.meta.url));
const names = machineNames((path) => machine('').read(path));

function imported(text: string | Uint8Array, environment: Record<string, string> = {}): Imported {
  return importFile('a.rules', { files: machine(text), names, environment, from: 'ipvsadm' });
}

/** What the table is once the YAML text is read. */
function tableOf({ yaml, problems }: Imported): Table {
  expect(problems).toEqual([]);
  const loaded = loadText(yaml!, 'headgate.yaml');
  expect(loaded.problems).toEqual([]);
  return toDesired(loaded.configuration!);
}

/** What the table is once `ipvsadm -R` has read the same text. */
async function restored(text: string | Uint8Array): Promise<Table> {
  const controller = memoryController();
  expect((await answer('ipvsadm -R', text, controller)).status).not.toBe(2);
  const { services } = await controller.read();
  return {
    services: services.map(({ service, destinations }) => ({
      service,
      destinations: destinations.map(({ destination }) => destination),
    })),
  };
}

describe('the table is that of ipvsadm -R', () => {
  test.each(readdirSync(join(golden, 'rules')))('for %s', async (file) => {
    const bytes = readFileSync(join(golden, 'rules', file));
    const found = imported(bytes);
    expect(tableOf(found)).toEqual(await restored(bytes));
    expect(toDesired(loadConfiguration(file, { files: machine(bytes) }).configuration!)).toEqual(
      await restored(bytes),
    );
    expect(found.notes.filter(({ kind }) => kind === 'ignored')).toEqual([]);
  });

  const recorded = readGoldenFiles().flatMap(({ scenario, steps }) =>
    steps.flatMap(({ run, stdin, status }, index) =>
      run === 'ipvsadm -R' && stdin && status === 0 && scenario !== 'restore-syntax-errors'
        ? [{ scenario, index, text: fromLines(stdin) }]
        : [],
    ),
  );

  test('of the recorded runs there are some', () => expect(recorded.length).toBeGreaterThan(9));

  test.each(recorded)('for $scenario, step $index', async ({ text }) => {
    const wanted = await restored(text);
    expect(withoutUnsayable(tableOf(imported(text)))).toEqual(withoutUnsayable(wanted));
  });

  const commands = readGoldenFiles().map(({ scenario, steps }) => ({
    scenario,
    lines: steps
      .filter(({ run, status }) => status === 0 && /^ipvsadm -[AEDaedC] /.test(`${run} `))
      .map(({ run }) => run),
  }));

  test.each(commands.filter(({ lines }) => lines.length > 0))(
    'for the commands of $scenario that the real program took',
    async ({ lines }) => {
      const rules = lines.filter((line) => !/[#'"]/.test(line)).join('\n');
      const found = imported(rules);
      const table = await restored(rules);
      expect(withoutUnsayable(tableOf(found))).toEqual(withoutUnsayable(table));
    },
  );
});

const long = process.env.LONG === '1';

describe('random rules', () => {
  const service = fc.constantFrom(
    ...['-t 10.0.0.1:80', '-t 10.0.0.1:443', '-t 10.0.0.2:0', '-u 10.0.0.1:53', '-u 10.0.0.1:80', '-f 1'],
    ...[
      '-t [2001:db8::1]:80',
      '-u [2001:db8::1]:5060',
      '--sctp-service 10.0.0.1:80',
      '-f 1 -6',
      '-f 4294967295',
    ],
  );
  const some = (option: fc.Arbitrary<string>) => fc.oneof(fc.constant(''), option);
  const serviceOptions = fc
    .tuple(
      some(fc.constantFrom(...schedulerNames).map((name) => ` -s ${name}`)),
      some(
        fc
          .tuple(
            fc.constantFrom(' -p', ' -p 1', ' -p 300', ' -p 2678400'),
            some(fc.constantFrom(' -M 255.255.255.0', ' -M 128.0.0.0')),
          )
          .map((words) => words.join('')),
      ),
      some(fc.constant(' -o')),
      some(fc.constantFrom(' -b flag-1', ' -b flag-1,flag-2,flag-3')),
    )
    .map((words) => words.join(''));
  const serverOptions = fc
    .tuple(
      fc.constantFrom(
        ' -m',
        ' -g',
        ' -i',
        ' -i --tun-type gue --tun-port 6080 --tun-csum',
        ' -i --tun-type gre',
        ' -i --tun-type gue --tun-port 6081 --tun-remcsum',
      ),
      some(fc.integer({ min: 0, max: 65_535 }).map((weight) => ` -w ${weight}`)),
      some(fc.constantFrom(' -x 10', ' -x 100 -y 50')),
    )
    .map((words) => words.join(''));
  const server = fc.constantFrom(
    ...['10.0.1.1', '10.0.1.2', '10.0.1.3:80', '10.0.1.4:8080', '10.0.1.1:8080'],
    ...['2001:db8:1::1', '2001:db8:1::2', '[2001:db8:1::1]:8080'],
  );
  const rule = fc.oneof(
    { weight: 4, arbitrary: fc.tuple(fc.constantFrom('-A', '-A', '-E'), service, serviceOptions) },
    {
      weight: 8,
      arbitrary: fc.tuple(
        fc.constantFrom('-a', '-a', '-a', '-e'),
        service,
        fc.constant('-r'),
        server,
        serverOptions,
      ),
    },
    { weight: 1, arbitrary: fc.tuple(fc.constant('-D'), service) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('-d'), service, fc.constant('-r'), server) },
    { weight: 1, arbitrary: fc.constantFrom(['--set 900 0 300'], ['-Z'], ['# a comment'], ['']) },
  );

  test('act in order, as in ipvsadm -R, and are refused as there', async () => {
    let services = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(rule, { minLength: 20, maxLength: 60, size: 'max' }), async (rules) => {
        const lines = rules.map((words) => words.join(' '));
        // A mistake would keep all others from being read, so those are held against ipvsadm one by one.
        const wrong = lines.filter((line) => imported(line).problems.length > 0);
        for (const line of wrong)
          expect((await answer('ipvsadm -R', line, memoryController())).stderr).toMatch(/^line 1: /);
        const right = lines.filter((line) => !wrong.includes(line)).join('\n');
        const table = await restored(right);
        services += table.services.length;
        expect(tableOf(imported(right))).toEqual(withoutUnsayable(table));
      }),
      { numRuns: long ? 2000 : 40 },
    );
    expect(services).toBeGreaterThan(100);
  });

  test('as ipvsadm-save prints them give the table that was saved', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(rule, { minLength: 20, maxLength: 60, size: 'max' }),
        fc.boolean(),
        async (rules, numeric) => {
          const controller = memoryController();
          for (const words of rules)
            await answer(`ipvsadm ${words.join(' ').replace(/ -[xy] \d+/g, '')}`, '', controller);
          const saved = (await answer(`ipvsadm-save${numeric ? ' -n' : ''}`, '', controller)).stdout;
          const { services } = await controller.read();
          const table: Table = {
            services: services.map((state) => ({
              service: state.service,
              destinations: state.destinations.map(({ destination }) => destination),
            })),
          };
          const found = imported(saved);
          expect(sorted(tableOf(found))).toEqual(sorted(withoutUnsayable(table)));
          expect(found.notes.filter(({ kind }) => kind === 'ignored')).toEqual([]);
          if (numeric) expect(found.notes.filter(({ kind }) => kind !== 'kept')).toEqual([]);
        },
      ),
      { numRuns: long ? 500 : 20 },
    );
  });
});

/** By name: what is saved is sorted in ipvsadm's own way. */
function sorted({ services }: Table): unknown {
  return services
    .map(({ service, destinations }) => ({
      service,
      destinations: destinations.toSorted((a, b) => (destinationKey(a) < destinationKey(b) ? -1 : 1)),
    }))
    .toSorted((a, b) => (serviceKey(a.service.id) < serviceKey(b.service.id) ? -1 : 1));
}

/** The table without what no configuration can say; each of these is noted. */
function withoutUnsayable({ services }: Table): Table {
  return {
    services: services
      .filter(({ service }) => service.scheduler !== 'none')
      .map(({ service, destinations }) => ({
        service: sayable(service),
        destinations: destinations.map((one) => ({
          ...one,
          port: one.port === 0 && service.id.kind === 'address' ? service.id.port : one.port,
          weight: Math.min(one.weight, 65_535),
        })),
      })),
  };
}

function sayable({ persistence, ...service }: VirtualService): VirtualService {
  if (!persistence) return service;
  const { netmask, engine, ...rest } = persistence;
  const { id } = service;
  const v4 = (id.kind === 'fwmark' ? id.family : familyOf(id.address)) === 4;
  const together = /^1+0*$/.test(netmask.toString(2).padStart(32, '0'));
  const bySip = engine !== undefined && (id.kind === 'fwmark' || id.protocol === 'udp');
  return {
    ...service,
    persistence: {
      ...rest,
      netmask: v4 && !together ? 0xffffffff : netmask,
      ...(bySip && { engine }),
    },
  };
}

const more = process.env.EXTRA_FIXTURES;

describe.skipIf(!more)('rules of EXTRA_FIXTURES', () => {
  const folder = more ?? '';
  const files = more ? readdirSync(more, { recursive: true, encoding: 'utf8' }) : [];
  const rules = files.filter((file) =>
    /ipvsadm(\.rules|\.saved$|-(nat-)?commands(\.fixed)?\.sh$)/.test(file),
  );

  test.each(rules)('%s gives the table of ipvsadm -R', async (file) => {
    const bytes = readFileSync(join(folder, file));
    const table = await restored(bytes);
    expect(table.services.length).toBeGreaterThan(0);
    expect(tableOf(imported(bytes))).toEqual(table);
    expect(toDesired(loadConfiguration(join(folder, file)).configuration!)).toEqual(table);
  });

  test.each(files.filter((file) => /director.*\.sh$/.test(file)))(
    '%s: its rules, and only they, count',
    async (file) => {
      const text = readFileSync(join(folder, file), 'utf8');
      const lines = text.split('\n').filter((line) => /^(\/sbin\/)?ipvsadm -/.test(line));
      const found = imported(text);
      expect(lines.length).toBeGreaterThan(0);
      expect(tableOf(found)).toEqual(await restored(lines.join('\n')));
      expect(found.notes.filter(({ kind }) => kind !== 'ignored')).toHaveLength(lines.length);
    },
  );

  const others = files.filter((file) =>
    /(\.cf|\.conf|haresources|authkeys|hosts|realserver\.sh|keepalived\.conf.*)$/.test(file),
  );

  test.each(others)('%s is not taken for rules', (file) => {
    expect(adapterFor(() => readFileSync(join(folder, file), 'latin1'), file)?.name).not.toBe('ipvsadm');
  });
});
