import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { authorityIn } from './certificates.ts';
import { freePorts, newFolder, start } from './servers.ts';
import { checked } from './site.ts';
import { bad, good } from './verdict.ts';

requires('root', 'vsftpd')('checks of vsftpd by FTP', () => {
  let folder: ReturnType<typeof newFolder>;
  let vsftpd: Awaited<ReturnType<typeof start>>;
  let port = 0;

  beforeAll(async () => {
    folder = newFolder();
    chmodSync(folder.path, 0o755);
    [port] = (await freePorts(1)) as [number];
    for (const name of ['root', 'empty']) mkdirSync(join(folder.path, name), { mode: 0o755 });
    writeFileSync(join(folder.path, 'root/alive.txt'), 'alive\n');
    writeFileSync(join(folder.path, 'root/large'), 'x'.repeat(1_000_000));
    writeFileSync(
      join(folder.path, 'vsftpd.conf'),
      `listen=YES\nlisten_address=127.0.0.1\nlisten_port=${port}\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO
anon_root=${folder.path}/root\nsecure_chroot_dir=${folder.path}/empty\nseccomp_sandbox=NO\nxferlog_enable=NO\n`,
    );
    vsftpd = await start('vsftpd', [join(folder.path, 'vsftpd.conf')], [port]);
  });
  afterAll(async () => {
    await vsftpd?.stop();
    folder?.remove();
  });

  test('the greeting, signing in, a file', async () => {
    expect(await good({ type: 'ftp' }, port)).toBe('220 (vsFTPd 3.0.3)');
    expect(await good({ type: 'ftp', user: 'anonymous', password: 'me@example.org' }, port)).toBe(
      '230 Login successful.',
    );
    const file = { type: 'ftp', path: '/alive.txt' } as const;
    expect(
      await good({ ...file, contains: 'alive', matches: '^a.*e$', matchOptions: ['multiline'] }, port),
    ).toBe('/alive.txt: 6 bytes');
    expect(await good({ type: 'ftp', path: '/large' }, port)).toBe('/large: 65536 bytes');
  });

  test('what is not as wanted', async () => {
    expect(await bad({ type: 'ftp', path: '/alive.txt', contains: 'dead' }, port)).toBe(
      'expect: file without "dead": got "alive"',
    );
    expect(await bad({ type: 'ftp', path: '/nowhere' }, port)).toBe(
      'expect: got "550 Failed to open file." for RETR /nowhere, want 150 or 125',
    );
    expect(await bad({ type: 'ftp', user: 'nobody', password: 'secret' }, port)).toMatch(
      /^expect: got "530 /,
    );
    expect(await bad({ type: 'smtp' }, port)).toMatch(/^expect: got "530 .*" for EHLO, want 250$/);
  });
});

requires('redis-server', 'openssl')('checks of Redis', () => {
  let folder: ReturnType<typeof newFolder>;
  let redis: Awaited<ReturnType<typeof start>>;
  let ca: string;
  let [plain, secure] = [0, 0];

  beforeAll(async () => {
    folder = newFolder();
    const authority = authorityIn(folder.path);
    ca = authority.ca;
    const { certificate, key } = authority.sign('redis.example.org', 90);
    const own = authority.sign('director.example.org', 90);
    writeFileSync(join(folder.path, 'own.pem'), '');
    ownCertificate = own;
    [plain, secure] = (await freePorts(2)) as [number, number];
    const settings = {
      port: plain,
      'tls-port': secure,
      'tls-cert-file': certificate,
      'tls-key-file': key,
      'tls-ca-cert-file': ca,
      bind: '127.0.0.1',
      save: '',
      dir: folder.path,
      requirepass: 'right',
      user: 'checker on >hidden +ping',
    };
    const file = join(folder.path, 'redis.conf');
    writeFileSync(
      file,
      Object.entries(settings)
        .map(([name, value]) => `${name} ${value === '' ? '""' : value}\n`)
        .join(''),
    );
    redis = await start('redis-server', [file], [plain, secure]);
  });
  afterAll(async () => {
    await redis?.stop();
    folder?.remove();
  });
  let ownCertificate = { certificate: '', key: '' };

  test('PING, after signing in', async () => {
    expect(await good({ type: 'redis', password: 'right' }, plain)).toBe('PONG');
    expect(await good({ type: 'redis', user: 'checker', password: 'hidden' }, plain)).toBe('PONG');
    expect(await bad({ type: 'redis' }, plain)).toBe(
      'expect: got "-NOAUTH Authentication required." for PING, want +PONG',
    );
    expect(await bad({ type: 'redis', password: 'wrong' }, plain)).toMatch(
      /^expect: got "-WRONGPASS .*" for AUTH \*\*\*, want \+OK$/,
    );
    const { lines } = await checked({ type: 'redis', password: 'right' }, plain);
    expect(JSON.stringify(lines)).not.toContain('right');
  });

  test('TLS, where the server wants a certificate of ours', async () => {
    const tls = { type: 'redis', transport: 'tls', password: 'right', verify: true, ca } as const;
    const shown = { certificate: ownCertificate.certificate, privateKey: ownCertificate.key };
    expect(await good({ ...tls, ...shown }, secure)).toBe('PONG');
    expect(await bad(tls, secure)).toBe('expect: the server wants a certificate of ours');
    expect(await bad({ ...tls, certificate: ca }, secure)).toMatch(/^tls: cannot use .*ca\.pem.* for TLS: /);
  });

  test('a tcp check that talks', async () => {
    const talk = { type: 'tcp', send: 'PING\r\n' } as const;
    expect(await good({ ...talk, contains: 'NOAUTH' }, plain)).toBe('answered as wanted');
    expect(
      await good(
        { ...talk, send: 'AUTH right\r\nPING\r\n', matches: '^\\+PONG', matchOptions: ['multiline'] },
        plain,
      ),
    ).toBe('answered as wanted');
    expect(await bad({ ...talk, contains: 'PONG', timeout: '200ms' }, plain)).toBe(
      'expect: no answer within 200ms; answer without "PONG": got "-NOAUTH Authentication required."',
    );
    expect(await bad({ ...talk, contains: 'PONG', endSending: true }, plain)).toBe(
      'expect: answer without "PONG": got "-NOAUTH Authentication required."',
    );
  });
});

requires(
  'root',
  'netns',
  'leafnode',
  'systemd',
)('checks of leafnode by NNTP', () => {
  let folder: ReturnType<typeof newFolder>;
  const servers: Awaited<ReturnType<typeof start>>[] = [];
  let [good_, nameless] = [0, 0];

  beforeAll(async () => {
    folder = newFolder();
    [good_, nameless] = (await freePorts(2)) as [number, number];
    const write = (name: string, hostname: string) => {
      const path = join(folder.path, name);
      writeFileSync(path, `server = news.example.org\nexpire = 20\nhostname = ${hostname}\n`, {
        mode: 0o644,
      });
      return path;
    };
    // Its configuration has one place, so each has a view of its own of that.
    const serve = (file: string, port: number) =>
      start(
        'unshare',
        [
          '--mount',
          'sh',
          '-c',
          `mount --bind ${file} /etc/news/leafnode/config && exec systemd-socket-activate --inetd -a -l 127.0.0.1:${port} /usr/sbin/leafnode`,
        ],
        [port],
      );
    servers.push(await serve(write('good', 'news.headgate.internal'), good_));
    servers.push(await serve(write('nameless', 'localhost'), nameless));
  });
  afterAll(async () => {
    for (const server of servers) await server.stop();
    folder?.remove();
  });

  test('its greeting, and its refusal', async () => {
    expect(await good({ type: 'nntp' }, good_)).toMatch(/^200 Leafnode NNTP Daemon/);
    expect(await bad({ type: 'nntp' }, nameless)).toMatch(
      /^expect: got "503 Leafnode must have .*", want 200 or 201$/,
    );
  });
});
