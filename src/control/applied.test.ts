import { expect, test } from 'vitest';
import { loadText } from '../config/load.ts';
import { recognised } from './applied.ts';
import { wantedOf } from './wanted.ts';

const tableWith = (weight: number) => {
  const service = (name: string, port: number, weight: number) => `
  - name: ${name}
    address: 192.0.2.10:${port}
    scheduler: wlc
    method: masquerade
    realServers: [{ address: 10.0.0.11:80, weight: ${weight} }, { address: 10.0.0.12:80 }]`;
  const text = `virtualServices:${service('a', 80, 1)}${service('b', 81, weight)}`;
  return wantedOf(loadText(text, 'test.yaml').configuration!).table;
};

test('services that are as another table has them are that table’s own, the others stay', () => {
  const [known, found] = [tableWith(1), tableWith(2)];
  const { services } = recognised(found, known);
  expect(services).toEqual(found.services);
  expect([services[0] === known.services[0], services[1] === found.services[1]]).toEqual([true, true]);
  expect(recognised({ services: found.services.toReversed() }, known).services[1]).toBe(known.services[0]);
});
