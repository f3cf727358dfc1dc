import { expect, test } from 'vitest';
import { HeadgateError } from '../model/errors.ts';
import { type IntentWords, readIntent } from './intent.ts';

const refusal = (words: IntentWords): string => {
  try {
    readIntent(words);
  } catch (error) {
    expect(error).toBeInstanceOf(HeadgateError);
    expect((error as HeadgateError).code).toBe('HG_USAGE');
    return (error as HeadgateError).message;
  }
  throw new Error('wanted a refusal');
};

test('readIntent() takes what belongs together, each address once and in its canonical form', () => {
  expect(readIntent({ method: 'tunnel', vip: ['192.0.2.10', '2001:DB8::0:1', '192.0.2.10'] })).toEqual({
    role: 'real-server',
    method: 'tunnel',
    vips: ['192.0.2.10', '2001:db8::1'],
    gateways: [],
  });
  expect(readIntent({ method: 'masquerade', gateway: ['10.0.0.254'] })).toMatchObject({
    gateways: ['10.0.0.254'],
  });
  expect(readIntent({ method: 'masquerade', director: true, masqueradeOutgoing: 'eth0' })).toMatchObject({
    role: 'director',
    outgoing: 'eth0',
  });
});

test.each<[string, IntentWords, string]>([
  ['no method', { vip: ['192.0.2.10'] }, 'found none'],
  ['an unknown method', { method: 'nat' }, 'found "nat"'],
  ['no address', { method: 'tunnel' }, 'wanted a virtual address for tunnel'],
  ['half an address', { method: 'tunnel', vip: ['192.0.2'] }, '"192.0.2"'],
  ['a prefix', { method: 'tunnel', vip: ['192.0.2.10/24'] }, 'without a length'],
  ['a loopback address', { method: 'tunnel', vip: ['127.0.0.2'] }, 'a loopback address'],
  ['a link-local address', { method: 'tunnel', vip: ['fe80::1'] }, 'a link-local address'],
  ['a multicast address', { method: 'tunnel', vip: ['224.0.0.1'] }, 'no single host'],
  ['no gateway', { method: 'masquerade' }, 'wanted a gateway for masquerade, found none'],
  ['a wrong gateway', { method: 'masquerade', gateway: ['gw'] }, 'gateway "gw"'],
  [
    'a gateway of the other family',
    { method: 'masquerade', vip: ['192.0.2.10', 'fd00::1'], gateway: ['10.0.0.254'] },
    'wanted a gateway of IPv6 for "fd00::1", found only "10.0.0.254"',
  ],
  ['two gateways', { method: 'masquerade', gateway: ['10.0.0.1', '10.0.0.2'] }, 'one gateway of IPv4'],
  ['a gateway elsewhere', { method: 'tunnel', vip: ['192.0.2.1'], gateway: ['10.0.0.1'] }, 'with tunnel'],
  ['a director of another method', { method: 'tunnel', director: true }, 'with masquerade, found tunnel'],
  ['outgoing without director', { method: 'masquerade', masqueradeOutgoing: 'eth0' }, 'with --director'],
])('readIntent() refuses %s', (_what, words, sentence) => {
  expect(refusal(words)).toMatch(/^Cannot set up this host: /);
  expect(refusal(words)).toContain(sentence);
});
