import { describe, expect, test } from 'vitest';
import type { Files } from '../files.ts';
import { importFile } from '../import.ts';
import { loadConfiguration } from '../load.ts';
import { machineNames } from './machine-names.ts';

/** A machine with these files and no others. */
function machine(files: Readonly<Record<string, string>>): Files {
  return {
    read: (path) => {
      const file = files[path];
      if (file === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
      return new TextEncoder().encode(file);
    },
    list: () => [],
    identity: (path) => path,
  };
}

const load = (all: Readonly<Record<string, string>>) =>
  loadConfiguration('l.cf', { files: machine(all), environment: {} });

test('results of checks go to the file that is named', () => {
  const head = 'virtual=192.0.2.10:80\n\treal=10.0.0.11:80 gate\n';
  const of = (value: string) =>
    load({ 'l.cf': `${head}\tmonitorfile=${value}\n` }).configuration!.virtualServices[0]!.checkLog;
  expect([of('"/var/log/www.checks"'), of('www'), of('"a b"')]).toEqual([
    '/var/log/www.checks',
    '/www',
    '/a b',
  ]);
  expect(load({ 'l.cf': `${head}\tmonitorfile=/www\n` }).warnings).toContainEqual({
    kind: 'changed',
    file: 'l.cf',
    line: 3,
    reason: 'of what is checked it has type, protocol, address and port',
  });
});

describe('execute', () => {
  const service = (address: string, mail = '') =>
    `virtual=${address}:80\n\treal=10.0.0.11:80 gate\n${mail && `\temailalert=${mail}\n`}`;

  test('the files of others are read as well, where ldirectord looks for them', () => {
    const { configuration, problems, files, warnings } = load({
      'l.cf': `execute=mail.cf\nexecute=/srv/dns.cf\nexecute=none.cf\n${service('192.0.2.10', 'a@example.org')}`,
      'mail.cf': 'not this one',
      '/etc/ha.d/conf/mail.cf': service('192.0.2.11', 'b@example.org'),
      '/srv/dns.cf': `fallback=10.0.0.99:80 gate\n${service('192.0.2.12')}`,
    });
    expect(problems).toEqual([]);
    expect(files).toEqual(['l.cf', '/etc/ha.d/conf/mail.cf', '/srv/dns.cf']);
    expect(warnings).toContainEqual({
      kind: 'ignored',
      file: 'l.cf',
      line: 3,
      reason: 'there is no such file',
    });
    const { virtualServices, alerts } = configuration!;
    // What a file says for all services it says for its own.
    expect(virtualServices.map(({ name, sorryServer }) => [name, sorryServer?.address.address])).toEqual([
      ['http-192.0.2.10', undefined],
      ['http-192.0.2.11', undefined],
      ['http-192.0.2.12', '10.0.0.99'],
    ]);
    expect(alerts!.mail!.map(({ to, services }) => [to, services])).toEqual([
      [['a@example.org'], ['http-192.0.2.10']],
      [['b@example.org'], ['http-192.0.2.11']],
    ]);
  });

  test('mail of a file that is included is about its own services', () => {
    const { configuration } = loadConfiguration('h.yaml', {
      files: machine({ 'h.yaml': 'include: [l.cf]', 'l.cf': service('192.0.2.10', 'a@example.org') }),
      environment: {},
    });
    expect(configuration!.alerts!.mail![0]!.services).toEqual(['http-192.0.2.10']);
  });

  test('a file that is executed by itself is a mistake', () => {
    const { problems } = load({ 'l.cf': `execute=l.cf\n${service('192.0.2.10')}` });
    expect(problems.map(({ message }) => message)).toEqual(['include "l.cf": a circle, it includes "l.cf"']);
  });

  test('import names the files', () => {
    const files = machine({ 'l.cf': `execute=/srv/dns.cf\n${service('192.0.2.10')}`, '/srv/dns.cf': '' });
    const { yaml } = importFile('l.cf', {
      files,
      names: machineNames(files.read),
      environment: {},
      from: 'ldirectord',
    });
    expect(yaml).toContain('include: [ /srv/dns.cf ]');
  });
});
