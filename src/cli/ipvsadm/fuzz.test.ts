import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { memoryController } from '../../../test/golden/memory-controller.ts';
import { answer } from '../../../test/golden/replay.ts';
import { optionTable } from '../../config/ipvsadm/options.ts';

const options = optionTable.flatMap(({ long, short }) => [
  `--${long}`,
  `--${long}=`,
  ...(short === undefined ? [] : [`-${short}`]),
]);
const address = fc
  .tuple(fc.ipV4(), fc.integer({ min: 0, max: 65536 }))
  .map(([host, port]) => `${host}:${port}`);
const address6 = fc
  .tuple(fc.ipV6(), fc.integer({ min: 0, max: 65536 }))
  .map(([host, port]) => `[${host}]:${port}`);
const word = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...options) },
  { weight: 2, arbitrary: fc.oneof(address, address6) },
  fc.constantFrom(
    'rr',
    'wlc',
    'sh',
    'master',
    'backup',
    'gue',
    'gre',
    '0',
    '1',
    '-1',
    '360',
    'sh-port',
    'www:http',
    '-',
    '--',
    '-At',
    '-Lnc',
  ),
  fc.string(),
);
const blank = /[ ']/;
const line = fc
  .array(word, { maxLength: 10 })
  .map((words) =>
    words.map((each) => (blank.test(each) || each === '' ? `'${each.replaceAll("'", '')}'` : each)).join(' '),
  );
const statuses = [0, 1, 2, 255];

describe('whatever is typed', () => {
  it('ends with one of the four statuses and says why', async () => {
    await fc.assert(
      fc.asyncProperty(line, async (text) => {
        const given = await answer(`ipvsadm ${text}`, '', memoryController());
        expect(statuses).toContain(given.status);
        expect(given.stderr === '').toBe(given.status === 0);
      }),
      { numRuns: 3000 },
    );
  });

  it('is restored or refused by line, from any bytes', async () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.array(line, { maxLength: 5 }).map((lines) => Buffer.from(lines.join('\n'))),
    );
    await fc.assert(
      fc.asyncProperty(bytes, async (input) => {
        expect(statuses).toContain((await answer('ipvsadm -R', input, memoryController())).status);
      }),
      { numRuns: 1000 },
    );
  });
});

const port = fc.integer({ min: 1, max: 65535 });
const family = fc.constantFrom(4 as const, 6 as const);
const host = (version: 4 | 6, last: number): string =>
  version === 4 ? `198.51.100.${last}` : `[2001:db8::${last.toString(16)}]`;
const settings = fc.tuple(
  fc.constantFrom('rr', 'wlc', 'sh -b sh-port', 'mh -b mh-port,mh-fallback', 'lc -b flag-1,flag-3', 'twos'),
  fc.option(fc.integer({ min: 1, max: 2_678_400 }), { nil: undefined }),
);
const server = fc.tuple(
  fc.integer({ min: 1, max: 250 }),
  port,
  fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  fc.constantFrom(
    '-m',
    '-g',
    '-i --tun-type gre --tun-csum',
    '-i --tun-type gue --tun-port 6080 --tun-remcsum',
  ),
);
const rules = fc
  .tuple(
    family,
    fc.constantFrom('-t', '-u', '--sctp-service', '-f'),
    fc.integer({ min: 1, max: 250 }),
    port,
    settings,
    fc.array(server, { maxLength: 4 }),
  )
  .map(([version, option, last, number, [scheduler, seconds], servers]) => {
    const name =
      option === '-f'
        ? `-f ${number}${version === 6 ? ' -6' : ''}`
        : `${option} ${host(version, last)}:${number}`;
    const service = `-A ${name} -s ${scheduler}${seconds === undefined ? '' : ` -p ${seconds}`}`;
    return [
      service,
      ...servers.map(
        ([end, to, weight, method]) => `-a ${name} -r ${host(version, end)}:${to} ${method} -w ${weight}`,
      ),
    ].join('\n');
  });

describe('what -S prints', () => {
  it('is read by -R into the same table', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(rules, { maxLength: 4 }), async (texts) => {
        const first = memoryController();
        await answer('ipvsadm -R', texts.join('\n'), first);
        const saved = (await answer('ipvsadm -S -n', '', first)).stdout;
        const second = memoryController();
        expect(await answer('ipvsadm-restore', saved, second)).toEqual({ status: 0, stdout: '', stderr: '' });
        const table = (observed: Awaited<ReturnType<typeof first.read>>) =>
          new Set(
            observed.services.flatMap(({ service, destinations }) => [
              JSON.stringify(service),
              ...destinations.map((each) => JSON.stringify([service.id, each.destination])),
            ]),
          );
        expect(table(await second.read())).toEqual(table(await first.read()));
      }),
      { numRuns: 300 },
    );
  });
});
