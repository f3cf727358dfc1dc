import { describe, expect, test } from 'vitest';
import { check as schema } from '../config/schema/check.ts';
import type { Address } from '../model/address.ts';
import type { Outcomes } from '../model/outcome.ts';
import { runCheck } from './run-check.ts';

const check = schema.parse({ type: 'passive', interval: '2s', failures: 5 });
const realServer = { address: '10.0.0.11' as Address, port: 80 };
const target = {
  ...realServer,
  realServer,
  service: { kind: 'address', protocol: 'tcp', address: '192.0.2.10' as Address, port: 80 },
} as const;
const found = async (answered: number, refused: number, unanswered: number) => {
  const outcomes = async (): Promise<Outcomes> => ({ answered, refused, unanswered });
  const { durationMs: _, ...result } = await runCheck(check, target, { outcomes });
  return result;
};

describe('a passive check', () => {
  test.each([
    [0, 0, 0, 'no connections of clients'],
    [41, 0, 0, '41 connections of clients, all answered'],
    [0, 0, 4, '4 connections of clients, 4 not answered'],
    [1, 0, 0, '1 connection of clients, all answered'],
    [9, 4, 5, '18 connections of clients, 5 not answered, 4 refused'],
  ])('%i answered, %i refused, %i not answered is good', async (answered, refused, unanswered, detail) => {
    expect(await found(answered, refused, unanswered)).toEqual({ isGood: true, detail });
  });

  test.each([
    [0, 0, 5, 'connect', '5 connections of clients, 5 not answered, want fewer than 5 that fail'],
    [0, 5, 0, 'expect', '5 connections of clients, 5 refused, want fewer than 5 that fail'],
    [8, 4, 5, 'expect', '17 connections of clients, 5 not answered, 4 refused, want fewer than 5 that fail'],
  ])(
    '%i answered, %i refused, %i not answered is bad',
    async (answered, refused, unanswered, phase, reason) => {
      expect(await found(answered, refused, unanswered)).toEqual({ isGood: false, phase, reason });
    },
  );

  test('says so where nobody looks, and is good where the data plane does not tell', async () => {
    expect(await runCheck(check, target)).toMatchObject({
      ...{ isGood: false, phase: 'run' },
      reason: 'nobody looks at the connections of clients: no daemon runs here',
    });
    expect(await runCheck(check, target, { outcomes: async () => undefined })).toMatchObject({
      isGood: true,
      detail: 'the data plane does not say what becomes of connections',
    });
  });
});
