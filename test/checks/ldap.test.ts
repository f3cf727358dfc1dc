import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked, peer } from './site.ts';

requires('slapd')('an LDAP server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    const file = (name: string, text: string) => {
      writeFileSync(join(folder.path, name), text);
      return join(folder.path, name);
    };
    mkdirSync(join(folder.path, 'data'));
    const configuration = file(
      'slapd.conf',
      `include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
database mdb
suffix "dc=example,dc=org"
rootdn "cn=admin,dc=example,dc=org"
rootpw pass'word
directory ${folder.path}/data
maxsize 1048576
access to dn.base="cn=hidden,dc=example,dc=org" by * none
access to * by * read
`,
    );
    const entries = file(
      'entries.ldif',
      `dn: dc=example,dc=org
objectClass: organization
objectClass: dcObject
dc: example
o: example

dn: cn=hidden,dc=example,dc=org
objectClass: applicationProcess
cn: hidden
`,
    );
    execFileSync('slapadd', ['-f', configuration, '-l', entries], { stdio: 'pipe' });
    server = await startServer(
      'slapd',
      ['-d', '0', '-f', configuration, '-h', `ldap://127.0.0.1:${port}/`],
      async () => (await ldap({ timeout: '200ms' })).isGood,
    );
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  async function ldap(keys: Record<string, unknown>) {
    return (await checked({ type: 'ldap', timeout: '2s', ...keys }, port)).result;
  }
  const admin = { user: 'cn=admin,dc=example,dc=org', password: "pass'word" };

  test('gives an entry to everyone, and to who signs in', async () => {
    expect(await ldap({})).toMatchObject({ isGood: true, detail: 'the root' });
    const base = 'dc=example,dc=org';
    expect(await ldap({ base, ...admin })).toMatchObject({ isGood: true, detail: base });
    expect(await ldap({ base: 'cn=hidden,dc=example,dc=org', ...admin })).toMatchObject({ isGood: true });
  });

  test('refuses a wrong password, and a user without one', async () => {
    expect(await ldap({ ...admin, password: 'wrong' })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: `got invalidCredentials for bind of "${admin.user}", want success`,
    });
    expect(await ldap({ user: admin.user })).toMatchObject({
      reason: expect.stringMatching(/^got unwillingToPerform: unauthenticated bind .* disallowed for bind/),
    });
    const { lines } = await checked({ type: 'ldap', ...admin }, port);
    expect(JSON.stringify(lines)).not.toContain('word');
  });

  test('has no entry where there is none, or none for us', async () => {
    const reason = (base: string) => `got noSuchObject for search of "${base}", want success`;
    const nobody = 'cn=nobody,dc=example,dc=org';
    expect(await ldap({ base: nobody })).toMatchObject({ phase: 'expect', reason: reason(nobody) });
    const hidden = 'cn=hidden,dc=example,dc=org';
    expect(await ldap({ base: hidden })).toMatchObject({ phase: 'expect', reason: reason(hidden) });
    expect(await ldap({ base: 'no name' })).toMatchObject({
      reason: 'got invalidDNSyntax: invalid DN for search of "no name", want success',
    });
  });

  test('names the entry, which must match', async () => {
    const base = 'DC=example,dc=org';
    expect(await ldap({ base, matches: '^dc=EXAMPLE', matchOptions: ['ignoreCase'] })).toMatchObject({
      isGood: true,
    });
    expect(await ldap({ base, matches: '^dc=EXAMPLE' })).toMatchObject({
      reason: 'got "dc=example,dc=org", want a match of /^dc=EXAMPLE/',
    });
  });

  test('says that it has no TLS', async () => {
    expect(await ldap({ transport: 'startTls' })).toMatchObject({
      phase: 'expect',
      reason: expect.stringMatching(/^got protocolError.* for StartTLS, want success$/),
    });
    expect(await ldap({ transport: 'tls' })).toMatchObject({ phase: 'tls' });
  });

  test('that is frozen answers nothing in time', async () => {
    await server.freeze();
    const result = await ldap({ timeout: '300ms' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
  });
});

test('what is not LDAP is named', async () => {
  const web = await peer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  const { result } = await checked({ type: 'ldap' }, web.port);
  await web.close();
  expect(result).toMatchObject({
    isGood: false,
    phase: 'expect',
    reason: expect.stringMatching(/^the answer is not LDAP: /),
  });
});

test('a message without end is not read', async () => {
  const endless = await peer((socket) => socket.write(Buffer.from('3084ffffffff', 'hex')));
  const { result } = await checked({ type: 'ldap' }, endless.port);
  await endless.close();
  expect(result).toMatchObject({ reason: 'the answer is not LDAP: a message of 4294967295 bytes' });
});

test('more than one entry, and none, are not what was asked for', async () => {
  const entry = Buffer.from('300a02010364050401313000', 'hex');
  const done = Buffer.from('300c02010365070a010004000400', 'hex');
  const saying = async (bytes: Buffer) => {
    const server = await peer((socket) => socket.once('data', () => socket.write(bytes)));
    const { result } = await checked({ type: 'ldap', timeout: '2s' }, server.port);
    await server.close();
    return result;
  };
  expect(await saying(Buffer.concat([entry, done]))).toMatchObject({ isGood: true, detail: '1' });
  expect(await saying(Buffer.concat([entry, entry, done]))).toMatchObject({
    reason: 'got 2 entries, want one',
  });
  expect(await saying(done)).toMatchObject({ reason: 'got no entries, want one' });
});
