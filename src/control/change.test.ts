import { describe, expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { openMemoryPlane, tcpFlags } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import type { HeadgateError } from '../model/errors.ts';
import type { Observed } from '../model/table.ts';
import type { Destination, VirtualService } from '../model/virtual-service.ts';
import { applyChange } from './apply.ts';
import { changeBetween, tableOf } from './change.ts';
import { intend } from './reconcile.ts';
import { wantedOf } from './wanted.ts';

const wanted = (yaml: string) => {
  const { configuration, problems } = loadText(yaml, 'test.yaml');
  if (!configuration) throw new Error(problems.map(({ message }) => message).join('\n'));
  return wantedOf(configuration);
};

const web = (servers: string, more = '') => `
${more}
virtualServices:
  - name: web
    address: 192.0.2.10:80
    scheduler: wlc
    method: masquerade
    realServers: [${servers}]
`;

const [one, two] = ['{ name: web1, address: 10.0.0.11:80 }', '{ name: web2, address: 10.0.0.12:80 }'];

async function plane(yaml: string, connections = 0) {
  const memory = openMemoryPlane();
  const change = await intend(memory, wanted(yaml));
  await applyChange(memory, change, change.observed);
  for (let port = 1; port <= connections; port++)
    memory.packet(
      { address: '203.0.113.1' as Address, port },
      { protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 },
      { direction: 'in', bytes: 40, flags: tcpFlags.syn },
    );
  return memory;
}

const told = async (memory: Awaited<ReturnType<typeof plane>>, yaml: string) => {
  const { steps, concerns } = await intend(memory, wanted(yaml));
  return {
    lines: steps.map(({ sign, what, detail, effect }) =>
      [sign, what, detail, ...(effect ? [effect] : [])].join(' '),
    ),
    concerns,
  };
};

describe('a change, told', () => {
  test('names what comes', async () => {
    expect(await told(openMemoryPlane(), web(one))).toEqual({
      lines: ['+ web scheduler wlc', '+ web/web1 10.0.0.11:80 masquerade, weight 1'],
      concerns: [],
    });
  });

  test('full NAT: from where, and how the client is told', async () => {
    const fullNat = (settings: string) =>
      web(`{ name: web1, address: 10.0.0.11:80, method: full-nat, ${settings} }`);
    const given = fullNat('fullNat: { localAddresses: [10.0.0.2, 10.0.0.3], clientAddress: tcp-option }');
    expect((await told(openMemoryPlane(), given)).lines.at(-1)).toBe(
      '+ web/web1 10.0.0.11:80 full-nat, from 10.0.0.2 and 10.0.0.3, client by tcp-option, weight 1',
    );
    const memory = await plane(fullNat('fullNat: { clientAddress: proxy-protocol }'));
    expect((await told(memory, fullNat('weight: 1'))).lines).toEqual([
      '~ web/web1 full-nat, client by proxy-protocol -> client hidden',
    ]);
  });

  test('says what becomes of connections', async () => {
    const memory = await plane(web(`${one}, ${two}`), 5);
    expect(await told(memory, web(`{ name: web1, address: 10.0.0.11:80, weight: 0 }, ${two}`))).toEqual({
      lines: ['~ web/web1 weight 1 -> 0 drains 2 connections'],
      concerns: [],
    });
    expect((await told(memory, web(one))).lines).toEqual([
      '- web/10.0.0.12:80 masquerade, weight 1 3 connections end with their next packet',
    ]);
    expect(
      (await told(memory, web(`${one}, { name: web2, address: 10.0.0.12:80, weight: 9 }`))).lines,
    ).toEqual(['~ web/web2 weight 1 -> 9']);
    expect((await told(memory, web(`${one}, ${two}`, 'timeouts: { udp: 10s }'))).lines).toEqual([
      '~ timeouts udp 300 s -> 10 s',
    ]);
  });

  test('says what becomes of connections whose real server goes, by the word that will be in force', async () => {
    const withWord = (word: string, servers: string) =>
      web(servers).replace('    scheduler:', `    whenGone: ${word}\n    scheduler:`);
    const words = {
      keep: '3 connections go on to it',
      drop: '3 connections fall silent',
      expire: '3 connections end with their next packet',
      reset: '3 connections end with a reset',
    };
    for (const [word, three] of Object.entries(words)) {
      const memory = await plane(withWord(word, `${one}, ${two}`), 5);
      expect((await told(memory, withWord(word, one))).lines).toEqual([
        `- web/10.0.0.12:80 masquerade, weight 1 ${three}`,
      ]);
      const before = await plane(withWord(word === 'keep' ? 'drop' : 'keep', `${one}, ${two}`), 5);
      expect((await told(before, withWord(word, one))).lines).toEqual([
        `~ web whenGone ${word === 'keep' ? 'drop' : 'keep'} -> ${word}`,
        `- web/10.0.0.12:80 masquerade, weight 1 ${three}`,
      ]);
    }
    const alone = await plane(withWord('reset', one), 1);
    expect((await told(alone, `own: true\nvirtualServices: []`)).lines).toEqual([
      '- tcp 192.0.2.10:80 with its 1 real server 1 connection ends with a reset',
    ]);
  });

  test('wants a word for what takes much away', async () => {
    const memory = await plane(web(`${one}, ${two}`), 5);
    expect((await told(memory, web(''))).concerns).toEqual([
      'web is left without a real server for new clients',
      '2 of 2 real servers are taken out at once',
    ]);
    expect((await told(memory, 'own: true')).concerns).toEqual([
      'tcp 192.0.2.10:80 goes, with 5 connections',
      '2 of 2 real servers are taken out at once',
    ]);
    // Replaced by as many others nobody is without a server.
    const others = '{ address: 10.0.0.13:80 }, { address: 10.0.0.14:80 }';
    expect((await told(memory, web(others))).concerns).toEqual(['2 of 2 real servers are taken out at once']);
  });

  test('leaves strangers alone, unless all is its own', async () => {
    const memory = await plane(web(one));
    const found = changeBetween(wanted(''), await memory.read());
    expect(found).toMatchObject({ steps: [], concerns: [] });
    expect(found.strangers).toHaveLength(1);
    expect(changeBetween(wanted('own: true'), await memory.read())).toMatchObject({
      strangers: [],
      steps: [{ sign: '-', what: 'tcp 192.0.2.10:80', detail: 'with its 1 real server' }],
    });
  });

  test('tells a large change in good time', () => {
    const services = Array.from({ length: 1000 }, (_, n) => {
      const id = {
        kind: 'address',
        protocol: 'tcp',
        address: `10.${n >> 8}.${n & 255}.1` as Address,
        port: 80,
      } as const;
      const service: VirtualService = {
        id,
        scheduler: 'rr',
        schedulerFlags: { flag1: false, flag2: false, flag3: false },
        onePacket: false,
      };
      const destinations = Array.from(
        { length: 10 },
        (_, m): Destination => ({
          address: `10.99.0.${m}` as Address,
          port: 80,
          method: 'masquerade',
          weight: 1,
          upperThreshold: 0,
          lowerThreshold: 0,
        }),
      );
      return { service, destinations };
    });
    const nothing: Observed = {
      services: [],
      timeouts: { tcp: 900, tcpFin: 120, udp: 300 },
      connectionTableSize: 1,
    };
    const names = { service: () => 'service', serviceName: () => 'service', realServer: () => 'server' };
    const { steps } = changeBetween({ table: { services }, timeouts: {}, own: false, names }, nothing);
    expect(steps).toHaveLength(11_000);
  });
});

describe('a change, applied', () => {
  test('is all of it, and then nothing is left to do', async () => {
    const memory = await plane(web(`${one}, ${two}`, 'timeouts: { tcp: 10s }'));
    const { services, timeouts } = await memory.read();
    expect(tableOf(services)).toEqual(wanted(web(`${one}, ${two}`)).table);
    expect(timeouts.tcp).toBe(10);
    expect((await intend(memory, wanted(web(`${one}, ${two}`)))).steps).toEqual([]);
  });

  test('is none of it when a step is refused', async () => {
    const memory = await plane(web(`${one}, ${two}`));
    const before = tableOf((await memory.read()).services);
    const change = await intend(memory, wanted(web('{ address: 10.0.0.13:80, weight: 3 }')));
    let once = true;
    const refusing = {
      ...memory,
      apply: async (operations: Parameters<typeof memory.apply>[0]) => {
        const at = once ? operations.findIndex(({ kind }) => kind === 'delete-destination') : -1;
        once = false;
        const refusals = await memory.apply(operations.filter((_, i) => i !== at));
        return at < 0
          ? refusals
          : refusals.toSpliced(at, 0, { reason: 'no-such-destination', detail: 'it is gone' });
      },
    };
    await expect(applyChange(refusing, change, change.observed)).rejects.toMatchObject({
      code: 'HG_APPLY_REFUSED',
      message: expect.stringMatching(
        /^Cannot apply the change: - web\/10\.0\.0\.1[12]:80: it is gone; what was there before is back$/,
      ),
    } satisfies Partial<HeadgateError>);
    const after = tableOf((await memory.read()).services);
    const byKey = (table: typeof before) =>
      table.services.map(({ service, destinations }) => ({
        service,
        destinations: destinations.toSorted((a, b) => a.address.localeCompare(b.address)),
      }));
    expect(byKey(after)).toEqual(byKey(before));
  });
});
