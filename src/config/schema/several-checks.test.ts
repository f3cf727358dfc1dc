import { expect, test } from 'vitest';
import { loadText } from '../load.ts';

function read(check: string, own = '') {
  const text = [
    'virtualServices:',
    '  - name: web',
    '    address: 192.0.2.10:80',
    `    ${check}`,
    '    realServers:',
    `      - { address: 10.0.0.11${own} }`,
  ].join('\n');
  const { configuration, problems } = loadText(text, 'headgate.yaml');
  const [service] = configuration?.virtualServices ?? [];
  return { service, problems: problems.map(({ at, message }) => `${at.line}:${at.column} ${message}`) };
}

test('one check is a list of one', () => {
  const { service } = read('check: { type: tcp }', ', check: { type: ping }');
  expect(service?.check?.map(({ type }) => type)).toEqual(['tcp']);
  expect(service?.realServers[0]?.check).toMatchObject([{ type: 'ping', fall: 3 }]);
});

test('several checks stay in their order', () => {
  const { service } = read('check: [{ type: tcp }, { type: http, path: /health }]', ', check: none');
  expect(service?.check).toMatchObject([{ type: 'tcp' }, { type: 'http', path: '/health' }]);
  expect(service?.realServers[0]?.check).toBe('none');
});

test('a mistake in one of several has its place', () => {
  expect(read('check: [{ type: tcp }, { type: http, path: 7 }]').problems).toEqual([
    '4:48 "path": wanted a path such as /health, found 7',
  ]);
  expect(read('check: []').problems).toEqual(['4:12 "check": wanted one check or more, found an empty list']);
  expect(read('check: { type: tcp }', ', check: never').problems).toEqual([
    '6:38 "check": wanted keys and values, a list of checks, or none, found "never"',
  ]);
});

test('a bad result may be looked at again sooner', () => {
  const { service } = read('check: { type: tcp, interval: 60s, retryInterval: 1s }');
  expect(service?.check).toMatchObject([{ interval: 60_000, retryInterval: 1000 }]);
  expect(read('check: { type: tcp }').service?.check?.[0]?.retryInterval).toBeUndefined();
});
