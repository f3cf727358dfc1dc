import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { authorityIn } from './certificates.ts';
import { freePorts, newFolder, start } from './servers.ts';
import { checked } from './site.ts';
import { bad, good } from './verdict.ts';

requires(
  'root',
  'postfix',
  'openssl',
)('checks of postfix by SMTP', () => {
  let folder: ReturnType<typeof newFolder>;
  let postfix: Awaited<ReturnType<typeof start>>;
  let ca: string;
  let [plain, secure, bare] = [0, 0, 0];

  beforeAll(async () => {
    folder = newFolder();
    chmodSync(folder.path, 0o755);
    const authority = authorityIn(folder.path);
    ca = authority.ca;
    const { certificate, key } = authority.sign('mail.example.org', 90);
    [plain, secure, bare] = (await freePorts(3)) as [number, number, number];
    for (const name of ['pid', 'public', 'private', 'active', 'incoming', 'deferred']) {
      mkdirSync(join(folder.path, 'queue', name), { recursive: true });
    }
    mkdirSync(join(folder.path, 'data'));
    execFileSync('chown', ['postfix', join(folder.path, 'data')]);
    execFileSync('chown', [
      '-R',
      'postfix',
      join(folder.path, 'queue/private'),
      join(folder.path, 'queue/public'),
    ]);
    const settings = {
      compatibility_level: '3.6',
      queue_directory: join(folder.path, 'queue'),
      data_directory: join(folder.path, 'data'),
      daemon_directory: '/usr/lib/postfix/sbin',
      inet_interfaces: '127.0.0.1',
      mynetworks: '127.0.0.0/8',
      myhostname: 'mail.example.org',
      maillog_file: join(folder.path, 'log'),
      maillog_file_prefixes: folder.path,
      smtpd_tls_cert_file: certificate,
      smtpd_tls_key_file: key,
      smtpd_tls_security_level: 'may',
      smtpd_peername_lookup: 'no',
      smtpd_helo_required: 'yes',
      // Nothing is looked up in files of this host.
      alias_maps: '',
      local_recipient_maps: '',
      relay_recipient_maps: '',
      virtual_alias_maps: '',
      virtual_mailbox_maps: '',
    };
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`);
    writeFileSync(join(folder.path, 'main.cf'), lines.join(''));
    writeFileSync(
      join(folder.path, 'master.cf'),
      `127.0.0.1:${plain} inet n - n - - smtpd
127.0.0.1:${secure} inet n - n - - smtpd -o smtpd_tls_wrappermode=yes
127.0.0.1:${bare} inet n - n - - smtpd -o smtpd_tls_security_level=none -o smtpd_client_restrictions=reject -o smtpd_delay_reject=no
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
`,
    );
    postfix = await start('/usr/lib/postfix/sbin/master', ['-c', folder.path, '-d'], [plain, secure, bare]);
  });
  afterAll(async () => {
    await postfix?.stop();
    folder?.remove();
  });

  const logged = () => readFileSync(join(folder.path, 'log'), 'utf8');
  const greeting = '220 mail.example.org ESMTP Postfix';

  test('plain, STARTTLS and TLS from the beginning', async () => {
    expect(await good({ type: 'smtp' }, plain)).toBe(greeting);
    const verified = { verify: true, ca, serverName: 'mail.example.org' };
    expect(await good({ type: 'smtp', transport: 'startTls', ...verified }, plain)).toBe(greeting);
    expect(await good({ type: 'smtp', transport: 'tls', ...verified }, secure)).toBe(greeting);
    expect(await good({ type: 'smtp', transport: 'startTls', expiryWarning: '100d' }, plain)).toBe(
      `${greeting}, certificate expires in 89 days`,
    );
  });

  test('what it says to the server, and that the server takes it as a whole session', async () => {
    const { lines } = await checked({ type: 'smtp', helo: 'director.example.org' }, plain);
    expect(lines.filter(({ direction }) => direction === 'sent').map(({ text }) => text)).toEqual([
      'EHLO director.example.org',
      'QUIT',
    ]);
    await expect
      .poll(() => logged())
      .toMatch(/disconnect from unknown\[127.0.0.1\] ehlo=1 quit=1 commands=2/);
    await good({ type: 'smtp', transport: 'startTls' }, plain);
    await expect.poll(() => logged()).toMatch(/ehlo=2 starttls=1 quit=1 commands=4/);
  });

  test('what is not as wanted', async () => {
    expect(await bad({ type: 'smtp', transport: 'startTls' }, bare)).toMatch(
      /^(expect: got "554 |tls: the server does not offer STARTTLS)/,
    );
    expect(await bad({ type: 'smtp', transport: 'tls' }, plain)).toBe('tls: the server answers without TLS');
    expect(await bad({ type: 'smtp', timeout: '300ms' }, secure)).toBe('expect: no answer within 300ms');
    expect(await bad({ type: 'smtp', transport: 'startTls', verify: true }, plain)).toBe(
      'tls: certificate is of an authority that is not known here',
    );
    expect(await bad({ type: 'smtp', helo: 'a\r\nRSET' }, plain)).toBe('send: helo has a line end in it');
  });
});

requires(
  'root',
  'dovecot',
  'dovecot-pop3',
  'openssl',
)('checks of dovecot by IMAP and POP', () => {
  let folder: ReturnType<typeof newFolder>;
  let dovecot: Awaited<ReturnType<typeof start>>;
  let ca: string;
  let [imap, imaps, pop, pops] = [0, 0, 0, 0];
  const account = { user: 'someone', password: 'ri"g\\ht' };

  beforeAll(async () => {
    folder = newFolder();
    chmodSync(folder.path, 0o755);
    const authority = authorityIn(folder.path);
    ca = authority.ca;
    const { certificate, key } = authority.sign('mail.example.org', 90);
    [imap, imaps, pop, pops] = (await freePorts(4)) as [number, number, number, number];
    mkdirSync(join(folder.path, 'mail'));
    execFileSync('chown', ['nobody', join(folder.path, 'mail')]);
    writeFileSync(join(folder.path, 'users'), `someone:{PLAIN}ri"g\\ht::::::\n`);
    const listeners = (kind: string, port: number, securePort: number) =>
      `service ${kind}-login {\n inet_listener ${kind} {\n port = ${port}\n }\n inet_listener ${kind}s {\n port = ${securePort}\n ssl = yes\n }\n}\n`;
    writeFileSync(
      join(folder.path, 'dovecot.conf'),
      `base_dir = ${folder.path}/run
state_dir = ${folder.path}/state
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <${certificate}
ssl_key = <${key}
disable_plaintext_auth = no
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:${folder.path}/mail/%u
passdb {
  driver = passwd-file
  args = ${folder.path}/users
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=${folder.path}/mail/%u
}
${listeners('imap', imap, imaps)}${listeners('pop3', pop, pops)}`,
    );
    dovecot = await start(
      'dovecot',
      ['-F', '-c', join(folder.path, 'dovecot.conf')],
      [imap, imaps, pop, pops],
    );
    // It listens before it can ask who signs in.
    for (let tries = 0; tries < 50; tries++) {
      if (typeof (await good({ type: 'imap', ...account }, imap)) === 'string') break;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  });
  afterAll(async () => {
    await dovecot?.stop();
    folder?.remove();
  });

  const verified = () => ({ verify: true, ca, serverName: 'mail.example.org' });

  test('IMAP: plain, STARTTLS and TLS, with and without signing in', async () => {
    expect(await good({ type: 'imap' }, imap)).toMatch(/^OK .*ready\.$/);
    expect(await good({ type: 'imap', ...account }, imap)).toMatch(/^OK .*/);
    expect(await good({ type: 'imap', transport: 'startTls', ...verified(), ...account }, imap)).toMatch(
      /^OK .*/,
    );
    expect(await good({ type: 'imap', transport: 'tls', ...verified(), ...account }, imaps)).toMatch(
      /^OK .*/,
    );
    expect(await bad({ type: 'imap', ...account, password: 'wrong' }, imap)).toMatch(
      /^expect: got "NO \[AUTHENTICATIONFAILED\].*" for LOGIN "someone" \*\*\*, want OK$/,
    );
    expect(await bad({ type: 'imap' }, pop)).toMatch(/^expect: got "\+OK .*", want \* OK$/);
  });

  test('POP: plain, STLS and TLS, with and without signing in', async () => {
    expect(await good({ type: 'pop' }, pop)).toMatch(/^\+OK .*ready\.$/);
    expect(await good({ type: 'pop', ...account }, pop)).toBe('+OK Logged in.');
    expect(await good({ type: 'pop', transport: 'startTls', ...verified(), ...account }, pop)).toBe(
      '+OK Logged in.',
    );
    expect(await good({ type: 'pop', transport: 'tls', ...verified(), ...account }, pops)).toBe(
      '+OK Logged in.',
    );
    expect(await bad({ type: 'pop', ...account, password: 'wrong' }, pop)).toMatch(
      /^expect: got "-ERR \[AUTH\].*" for PASS \*\*\*, want \+OK$/,
    );
    expect(await bad({ type: 'pop' }, imap)).toMatch(/^expect: got "\* OK .*", want \+OK$/);
  });

  test('no password is told', async () => {
    for (const [type, port] of [
      ['imap', imap],
      ['pop', pop],
    ] as const) {
      const { lines } = await checked({ type, ...account }, port);
      expect(lines.length).toBeGreaterThan(4);
      expect(JSON.stringify(lines)).not.toContain('ht');
    }
  });
});
