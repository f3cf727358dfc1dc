import { expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { applyChange } from '../control/apply.ts';
import { explain } from '../control/explain.ts';
import { intend } from '../control/reconcile.ts';
import { wantedOf } from '../control/wanted.ts';
import { openMemoryPlane, tcpFlags } from '../dataplane/memory/plane.ts';
import type { Address } from '../model/address.ts';
import { explanationText } from './explain.ts';

const web = (addresses: string, servers: string) =>
  wantedOf(
    loadText(
      `virtualServices: [{ name: web, address: ${addresses}, scheduler: wlc, method: masquerade, realServers: [${servers}] }]`,
      'h.yaml',
    ).configuration!,
  );
const two =
  '{ name: longer, address: 10.0.0.12:80, weight: 1 }, { name: web1, address: 10.0.0.11:80, weight: 2 }';
const client = { address: '203.0.113.9' as Address, port: 40000 };
const virtual = { address: '192.0.2.10' as Address, port: 80 };

async function planeOf(wanted: ReturnType<typeof web>) {
  const plane = openMemoryPlane();
  const change = await intend(plane, wanted);
  await applyChange(plane, change, change.observed);
  return plane;
}

const question = { protocol: 'tcp', client, virtual } as const;

test('says what the configuration calls them, with their addresses', async () => {
  const wanted = web('192.0.2.10:80', two);
  const plane = await planeOf(wanted);
  const before = await explain(plane, question, wanted.names);
  expect(before).toMatchObject({
    service: { name: 'web', address: 'tcp 192.0.2.10:80' },
    realServer: 'web1',
    candidates: [{ name: 'longer' }, { name: 'web1' }],
  });
  const text = explanationText(before);
  expect(text).toMatch(/^service +web tcp 192\.0\.2\.10:80, wlc$/m);
  expect(text).toMatch(/^goes to +web\/web1 10\.0\.0\.11:80, because it has the least load for its weight$/m);
  expect(text).toMatch(/^ +\* web1 {4}10\.0\.0\.11:80 {2}weight 2 {2}active 0/m);
  expect(text).toMatch(/^ +longer {2}10\.0\.0\.12:80 {2}weight 1 {2}active 0/m);

  plane.packet(client, { protocol: 'tcp', ...virtual }, { direction: 'in', bytes: 40, flags: tcpFlags.syn });
  const after = await explain(plane, question, wanted.names);
  expect(after.connections).toMatchObject([{ realServer: 'web1', client }]);
  expect(explanationText(after)).toMatch(/^connections +40000 -> web1 10\.0\.0\.11:80 SYN_RECV$/m);
});

test('a name that stands for several addresses has the one that is meant, once', async () => {
  const wanted = web('[192.0.2.10:80, 192.0.2.11:80]', two);
  const text = explanationText(await explain(await planeOf(wanted), question, wanted.names));
  expect(text).toMatch(/^service +web \(tcp 192\.0\.2\.10:80\), wlc$/m);
});

test('where nobody has given names an address stands once', async () => {
  const wanted = web('192.0.2.10:80', '{ address: 10.0.0.11:80 }');
  const text = explanationText(await explain(await planeOf(wanted), question));
  expect(text).toMatch(/^service +tcp 192\.0\.2\.10:80, wlc$/m);
  expect(text).toMatch(/^goes to +10\.0\.0\.11:80, because/m);
  expect(text).toMatch(/^ +\* 10\.0\.0\.11:80 {2}weight 1 {2}active 0/m);
});

test('where nobody may have it the next step is by name too', async () => {
  const wanted = web('192.0.2.10:80', two.replaceAll(/weight: \d/g, 'weight: 1, upperThreshold: 1'));
  const plane = await planeOf(wanted);
  for (const port of [1, 2])
    plane.packet(
      { ...client, port },
      { protocol: 'tcp', ...virtual },
      { direction: 'in', bytes: 40, flags: tcpFlags.syn },
    );
  const { problems } = await explain(plane, question, wanted.names);
  expect(problems).toEqual([
    {
      what: 'none of the 2 real servers of web may have new connections',
      remedy: 'add a real server, or raise an upper threshold: longer has 1',
    },
  ]);
});
