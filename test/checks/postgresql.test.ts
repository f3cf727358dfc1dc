import { execFileSync } from 'node:child_process';
import { appendFileSync, chownSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { userByName } from '../../src/sys/user.ts';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked, peer } from './site.ts';

const users = `
create user trusted;
set password_encryption = 'md5';
create user hashed password 'geheim';
set password_encryption = 'scram-sha-256';
create user scram password 'gehéim';
create user plain password 'geheim';
create database shop;
`;
const rules = `
hostssl all secured 127.0.0.1/32 scram-sha-256
host all trusted 127.0.0.1/32 trust
host all hashed 127.0.0.1/32 md5
host all scram 127.0.0.1/32 scram-sha-256
host all plain 127.0.0.1/32 password
`;

requires(
  'root',
  'postgresql',
  'openssl',
)('a PostgreSQL server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    const [version] = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
    const program = (name: string) => `/usr/lib/postgresql/${version}/bin/${name}`;
    const owner = userByName('postgres')!;
    chownSync(folder.path, owner.uid, owner.gid);
    const data = join(folder.path, 'data');
    const run = (name: string, args: string[], input = '') =>
      execFileSync(program(name), args, { ...owner, input, stdio: 'pipe', cwd: folder.path });
    run('initdb', ['-D', data, '-U', 'postgres', '-A', 'reject', '-E', 'UTF8', '--locale=C', '--no-sync']);
    run('postgres', ['--single', '-D', data, 'postgres'], users);
    writeFileSync(join(data, 'pg_hba.conf'), rules);
    const certificate = join(folder.path, 'server');
    const request = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '2',
      '-subj',
      '/CN=db.example.org',
    ];
    execFileSync('openssl', [...request, '-keyout', `${certificate}.key`, '-out', `${certificate}.crt`], {
      ...owner,
      stdio: 'pipe',
    });
    appendFileSync(
      join(data, 'postgresql.conf'),
      `port = ${port}
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
ssl = on
ssl_cert_file = '${certificate}.crt'
ssl_key_file = '${certificate}.key'
`,
    );
    const ready = /database system is ready to accept connections/;
    server = await startServer(program('postgres'), ['-D', data], ready, owner);
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  async function postgresql(keys: Record<string, unknown>) {
    return (await checked({ type: 'postgresql', timeout: '3s', ...keys }, port)).result;
  }
  const inShop = { database: 'shop' };

  test.each([
    ['trusted', undefined],
    ['hashed', 'geheim'],
    ['scram', 'gehéim'],
    ['plain', 'geheim'],
  ])('lets %s in, and gives rows', async (user, password) => {
    const account = { ...inShop, user, password };
    expect(await postgresql(account)).toMatchObject({ isGood: true, detail: 'signed in' });
    const query = "select current_user where current_user = '";
    expect(await postgresql({ ...account, query: `${query}${user}'` })).toMatchObject({
      detail: 'got a row',
    });
    expect(await postgresql({ ...account, query: `${query}nobody'` })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'got no row, want one',
    });
  });

  test.each(['hashed', 'scram', 'plain'])('refuses %s with another password', async (user) => {
    expect(await postgresql({ ...inShop, user, password: 'wrong' })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: `the server says 28P01: password authentication failed for user "${user}"`,
    });
    expect(await postgresql({ ...inShop, user })).toMatchObject({
      reason: 'the server wants a password, and none is given',
    });
  });

  test('tells nobody the password', async () => {
    for (const user of ['hashed', 'plain']) {
      const { lines } = await checked({ type: 'postgresql', ...inShop, user, password: 'geheim' }, port);
      expect(JSON.stringify(lines)).not.toMatch(/geheim|md5[0-9a-f]{32}/);
    }
  });

  test('says what is wrong with a query, and with a database', async () => {
    expect(await postgresql({ ...inShop, user: 'trusted', query: 'select 1/0' })).toMatchObject({
      reason: 'the server says 22012: division by zero',
    });
    expect(await postgresql({ ...inShop, user: 'trusted', query: 'selct' })).toMatchObject({
      reason: expect.stringContaining('42601: syntax error'),
    });
    expect(await postgresql({ user: 'trusted', database: 'store' })).toMatchObject({
      reason: 'the server says 3D000: database "store" does not exist',
    });
  });

  test('a long answer ends with its first row', async () => {
    const query = "select repeat('x', 1000) from generate_series(1, 1000000)";
    const result = await postgresql({ ...inShop, user: 'trusted', query, timeout: '10s' });
    expect(result).toMatchObject({ isGood: true, detail: 'got a row' });
  });

  test('is knocked at where no user is given', async () => {
    expect(await postgresql({})).toMatchObject({
      isGood: true,
      detail: expect.stringMatching(/^takes connections: no pg_hba.conf entry for host/),
    });
  });

  test('speaks TLS where that is asked for', async () => {
    const keys = { ...inShop, user: 'scram', password: 'gehéim', transport: 'startTls' };
    expect(await postgresql({ ...keys, query: 'select 1 from pg_stat_ssl where ssl' })).toMatchObject({
      isGood: true,
      detail: expect.stringContaining('got a row'),
    });
    expect(await postgresql({ ...keys, verify: true })).toMatchObject({ isGood: false, phase: 'tls' });
  });

  test('that is frozen answers nothing in time', async () => {
    await server.freeze();
    const result = await postgresql({ timeout: '300ms' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
  });
});

/** What a server says that has only one thing to say. */
async function saying(bytes: string, keys: Record<string, unknown> = {}) {
  const server = await peer((socket) =>
    socket.once('data', () => socket.write(Buffer.from(bytes, 'latin1'))),
  );
  const { result } = await checked({ type: 'postgresql', timeout: '400ms', ...keys }, server.port);
  await server.close();
  return result;
}

test('a server that is starting is not there yet', async () => {
  expect(await saying('E\0\0\0\x23SFATAL\0C57P03\0Mis starting up\0\0')).toMatchObject({
    isGood: false,
    phase: 'expect',
    reason: 'the server says 57P03: is starting up',
  });
});

test('what is not PostgreSQL is named', async () => {
  const reason = expect.stringMatching(/^the answer is not PostgreSQL: /);
  expect(await saying('HTTP/1.1 400 Bad Request\r\n')).toMatchObject({ phase: 'expect', reason });
  expect(await saying('R\0\0\0\x06\0\0')).toMatchObject({ phase: 'expect', reason });
  expect(await saying('R\xff\xff\xff\xff')).toMatchObject({ phase: 'expect', reason });
  expect(await saying('N', { transport: 'startTls' })).toMatchObject({
    phase: 'tls',
    reason: 'the server does not speak TLS',
  });
});

test('a server that only says that it knows the password is refused', async () => {
  const message = (method: number, data: string) => {
    const head = Buffer.from('R\0\0\0\0\0\0\0\0', 'latin1');
    head.writeUInt32BE(8 + Buffer.byteLength(data), 1);
    head.writeUInt32BE(method, 5);
    return Buffer.concat([head, Buffer.from(data)]);
  };
  const liar = await peer((socket) => {
    const answers = [
      () => message(10, 'SCRAM-SHA-256\0\0'),
      (first: string) => message(11, `r=${/r=(.*)$/.exec(first)?.[1]}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`),
      () => Buffer.concat([message(12, `v=${Buffer.alloc(32).toString('base64')}`), message(0, '')]),
    ];
    socket.on('data', (bytes) => socket.write(answers.shift()?.(bytes.toString('latin1')) ?? ''));
  });
  const keys = { type: 'postgresql', user: 'me', password: 'geheim', timeout: '2s' } as const;
  const { result } = await checked(keys, liar.port);
  await liar.close();
  expect(result).toMatchObject({
    isGood: false,
    phase: 'expect',
    reason: 'the server does not know the password',
  });
});
