import { expect, test } from 'vitest';
import type { Address } from '../model/address.ts';
import type { MemberOutcomes } from '../model/outcome.ts';
import { watchClients } from './client-connections.ts';

const realServer = { address: '10.0.0.11' as Address, port: 80 };
const service = { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 } as const;
const target = { ...realServer, realServer, service };

test('tells what happened within the time that is asked for, and looks once for many who ask', async () => {
  let nowMs = 0;
  let looks = 0;
  let counts = { answered: 100, refused: 0, unanswered: 0 };
  const outcomes = async (): Promise<MemberOutcomes[]> => {
    looks++;
    return [{ service, destination: realServer, ...counts }];
  };
  const ask = watchClients(
    () => ({ outcomes }),
    () => nowMs,
  );
  expect(await ask(target, 2000)).toEqual({ answered: 0, refused: 0, unanswered: 0 });
  await Promise.all(Array.from({ length: 50 }, () => ask(target, 2000)));
  expect(looks).toBe(1);
  counts = { ...counts, unanswered: 7 };
  nowMs = 2000;
  expect(await ask(target, 2000)).toEqual({ answered: 0, refused: 0, unanswered: 7 });
  nowMs = 4000;
  expect(await ask(target, 2000)).toEqual({ answered: 0, refused: 0, unanswered: 0 });
  // Somebody who looks by hand in between takes nothing away.
  counts = { ...counts, answered: 103 };
  for (nowMs = 4300; nowMs < 6000; nowMs += 300) await ask(target, 2000);
  nowMs = 6000;
  expect(await ask(target, 2000)).toEqual({ answered: 3, refused: 0, unanswered: 0 });
  // A plane that begins anew.
  counts = { answered: 2, refused: 0, unanswered: 0 };
  nowMs = 8500;
  expect(await ask(target, 2000)).toMatchObject({ answered: 2 });
});

test('says so where the data plane does not tell', async () => {
  expect(
    await watchClients(
      () => ({}),
      () => 0,
    )(target, 2000),
  ).toBeUndefined();
});
