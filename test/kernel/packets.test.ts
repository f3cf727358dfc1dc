import { readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { beforeAll, describe, it } from 'vitest';
import { requires } from '../requirements.ts';
import { guestNeeds, series, suiteInGuests, suiteTimeoutMs } from './suite.ts';

/*
 * The packet suite of test/packets against the kernels people run, file by file. An emulated processor is ten times
 * slower. Here always: the files that send every kind of packet once, with their random tests kept small by SHORT=1.
 * With LONG=1 also those that walk at random through what is the same on every kernel (the schedulers, and what they
 * remember) or mostly wait for the clock; and random tests of their usual size.
 */

const folder = 'test/packets';
const longOnly = ['schedulers.test.ts', 'expiry.test.ts', 'rates.test.ts'];
const files = readdirSync(join(resolve(import.meta.dirname, '../..'), folder))
  .filter((name) => name.endsWith('.test.ts') && (process.env.LONG || !longOnly.includes(name)))
  .map((name) => `${folder}/${name}`);
const inGuests = suiteInGuests(files, () => (process.env.LONG ? {} : { SHORT: '1' }));

describe.each(series)('Linux %s', (name) => {
  requires(...guestNeeds, `kernel-${name}`)('packets', () => {
    beforeAll(() => inGuests.run(name), 2 * suiteTimeoutMs);

    it.each(files)('%s', (file) => inGuests.expectPassed(name, file), suiteTimeoutMs);
  });
});
