import { execFileSync } from 'node:child_process';
import { createHash, generateKeyPairSync, privateDecrypt } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked, peer } from './site.ts';

const users = `
create user native@'127.0.0.1' identified by 'gehéim';
create user nobody@'127.0.0.1' identified via mysql_native_password using '';
create user curve@'127.0.0.1' identified via ed25519 using password('geheim');
create user secured@'127.0.0.1' identified by 'geheim' require ssl;
create database shop;
grant select on shop.* to native@'127.0.0.1';
grant select on shop.* to secured@'127.0.0.1';
create table shop.goods (name varchar(20));
`;

requires(
  'root',
  'mariadb',
  'openssl',
)('a MariaDB server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    const data = join(folder.path, 'data');
    const quiet = { stdio: 'pipe' } as const;
    execFileSync(
      'mariadb-install-db',
      [
        '--no-defaults',
        `--datadir=${data}`,
        '--user=root',
        '--skip-test-db',
        '--auth-root-authentication-method=normal',
      ],
      quiet,
    );
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
    execFileSync(
      'openssl',
      [...request, '-keyout', `${certificate}.key`, '-out', `${certificate}.crt`],
      quiet,
    );
    const path = join(folder.path, 'users.sql');
    // One statement a line is what init_file takes.
    writeFileSync(path, `install soname 'auth_ed25519';${users}`);
    server = await startServer(
      'mariadbd',
      [
        '--no-defaults',
        '--user=root',
        `--datadir=${data}`,
        `--port=${port}`,
        '--bind-address=127.0.0.1',
        `--socket=${folder.path}/socket`,
        `--pid-file=${folder.path}/pid`,
        `--init-file=${path}`,
        `--ssl-cert=${certificate}.crt`,
        `--ssl-key=${certificate}.key`,
        '--skip-name-resolve',
        '--max-connect-errors=1000',
        '--innodb-buffer-pool-size=16M',
      ],
      /ready for connections/,
    );
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  async function mysql(keys: Record<string, unknown>) {
    return (await checked({ type: 'mysql', timeout: '3s', ...keys }, port)).result;
  }
  const native = { user: 'native', password: 'gehéim' };

  test('greets everyone with its version', async () => {
    expect(await mysql({})).toMatchObject({ isGood: true, detail: expect.stringMatching(/^\S*MariaDB\S*$/) });
  });

  test('lets in who gives the password, or has none', async () => {
    expect(await mysql(native)).toMatchObject({
      isGood: true,
      detail: expect.stringMatching(/, signed in$/),
    });
    expect(await mysql({ ...native, database: 'shop' })).toMatchObject({ isGood: true });
    expect(await mysql({ user: 'nobody' })).toMatchObject({ isGood: true });
    const { lines } = await checked({ type: 'mysql', ...native }, port);
    expect(JSON.stringify(lines)).not.toContain('geh');
  });

  test('refuses another password, another user, another database', async () => {
    const denied = (user: string, using: string) => ({
      isGood: false,
      phase: 'expect',
      reason: `the server says 1045: Access denied for user '${user}'@'127.0.0.1' (using password: ${using})`,
    });
    expect(await mysql({ ...native, password: 'wrong' })).toMatchObject(denied('native', 'YES'));
    expect(await mysql({ user: 'native' })).toMatchObject(denied('native', 'NO'));
    expect(await mysql({ ...native, database: 'mysql' })).toMatchObject({
      reason: expect.stringMatching(/^the server says 1044: Access denied for user .* to database 'mysql'$/),
    });
  });

  test('gives rows', async () => {
    const shop = { ...native, database: 'shop' };
    expect(await mysql({ ...shop, query: "select 'a', null, 3 union select 'b', 'c', 4" })).toMatchObject({
      isGood: true,
      detail: 'got a row',
    });
    expect(await mysql({ ...shop, query: 'select * from goods' })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'got no row, want one',
    });
    expect(await mysql({ ...shop, query: 'set @a = 1' })).toMatchObject({ reason: 'got no row, want one' });
    expect(await mysql({ ...shop, query: 'select * from nothing' })).toMatchObject({
      reason: "the server says 1146: Table 'shop.nothing' doesn't exist",
    });
    expect(await mysql({ ...shop, query: "select repeat('x', 2000000)" })).toMatchObject({
      reason: expect.stringMatching(/^the answer is not MySQL: it begins with/),
    });
  });

  test('speaks TLS where that is asked for', async () => {
    const secured = { user: 'secured', password: 'geheim' };
    expect(await mysql(secured)).toMatchObject({ isGood: false, reason: expect.stringContaining('1045') });
    const tls = { ...secured, transport: 'startTls' };
    const query =
      "select 1 from information_schema.session_status where variable_name = 'ssl_cipher' and variable_value <> ''";
    expect(await mysql({ ...tls, query })).toMatchObject({
      isGood: true,
      detail: expect.stringMatching(/^got a row, certificate expires in 1 day/),
    });
    expect(await mysql({ ...tls, database: 'shop' })).toMatchObject({ isGood: true });
    expect(await mysql({ ...tls, verify: true })).toMatchObject({
      phase: 'tls',
      reason: 'self-signed certificate',
    });
  });

  test('wants a proof that is not known here', async () => {
    expect(await mysql({ user: 'curve', password: 'geheim' })).toMatchObject({
      phase: 'expect',
      reason: 'the server wants client_ed25519, which is not known here',
    });
  });

  test('that is frozen answers nothing in time', async () => {
    await server.freeze();
    const result = await mysql({ timeout: '300ms' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
  });
});

/** The server's side of caching_sha2_password, which MariaDB does not have, after the manual of MySQL. */
describe('caching_sha2_password', () => {
  const salt = Buffer.from('abcdefgh0123456789xy');
  const digest = (...parts: (Buffer | string)[]) =>
    createHash('sha256')
      .update(Buffer.concat(parts.map((part) => Buffer.from(part))))
      .digest();
  const kept = digest(digest('geheim'));
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const greeting = Buffer.concat([
    Buffer.from('\x0a8.0.36\0\x0b\0\0\0abcdefgh\0\xff\xf7\xff\x02\0\xff\xdf\x15', 'latin1'),
    Buffer.alloc(10),
    Buffer.from('0123456789xy\0caching_sha2_password\0'),
  ]);

  function behave(socket: Socket, isCached: boolean): void {
    let sequence = 0;
    const send = (payload: Buffer | string) => {
      const bytes = Buffer.from(payload);
      socket.write(Buffer.concat([Buffer.of(bytes.length & 255, bytes.length >> 8, 0, sequence), bytes]));
    };
    const judge = (isRight: boolean) =>
      send(
        isRight ? Buffer.of(0, 0, 0, 2, 0, 0, 0) : Buffer.from('\xff\x15\x04#28000Access denied', 'latin1'),
      );
    const answers = [
      (login: Buffer) => {
        const proof = login.subarray(login.indexOf('\0', 32) + 2).subarray(0, 32);
        const once = Buffer.from(proof.map((byte, i) => byte ^ digest(kept, salt)[i]!));
        if (!isCached) return send(Buffer.of(1, 4));
        const isRight = digest(once).equals(kept);
        if (isRight) {
          send(Buffer.of(1, 3));
          sequence++;
        }
        judge(isRight);
      },
      (request: Buffer) => {
        expect(request).toEqual(Buffer.of(2));
        send(Buffer.concat([Buffer.of(1), Buffer.from(publicKey.export({ type: 'spki', format: 'pem' }))]));
      },
      (encrypted: Buffer) => {
        const mixed = privateDecrypt(privateKey, encrypted);
        const password = Buffer.from(mixed.map((byte, i) => byte ^ salt[i % salt.length]!));
        judge(password.toString() === 'geheim\0');
      },
    ];
    // What comes after the login is a goodbye.
    if (isCached) answers.splice(1);
    send(greeting);
    socket.on('data', (bytes) => {
      sequence = bytes[3]! + 1;
      answers.shift()?.(bytes.subarray(4));
    });
  }

  test.each([true, false])('signs in (the server has seen the password: %s)', async (isCached) => {
    const server = await peer((socket) => behave(socket, isCached));
    const keys = { type: 'mysql', user: 'me', timeout: '2s' } as const;
    const right = await checked({ ...keys, password: 'geheim' }, server.port);
    const wrong = await checked({ ...keys, password: 'wrong' }, server.port);
    await server.close();
    expect(right.result).toMatchObject({ isGood: true, detail: '8.0.36, signed in' });
    expect(JSON.stringify(right.lines)).not.toContain('geheim');
    expect(wrong.result).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: expect.stringMatching(/^the server says 1045: Access denied/),
    });
  });
});

test('what is not MySQL is named', async () => {
  const web = await peer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  const { result } = await checked({ type: 'mysql' }, web.port);
  await web.close();
  expect(result).toMatchObject({
    phase: 'expect',
    reason: expect.stringMatching(/^the answer is not MySQL: /),
  });
});

test('a packet out of turn is no answer', async () => {
  const server = await peer((socket) => socket.write(Buffer.from('0100000100', 'hex')));
  const { result } = await checked({ type: 'mysql' }, server.port);
  await server.close();
  expect(result).toMatchObject({ phase: 'expect', reason: 'the answer is not MySQL: packet 1, want 0' });
});
