import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked } from './site.ts';

const longPassword = 'x'.repeat(100);

requires('freeradius')('a RADIUS server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    writeFileSync(
      join(folder.path, 'radiusd.conf'),
      `prefix = /usr
      libdir = /usr/lib/freeradius
      raddbdir = ${folder.path}
      run_dir = ${folder.path}
      logdir = ${folder.path}
      pidfile = ${folder.path}/pid
      security {
        status_server = yes
        allow_vulnerable_openssl = yes
        reject_delay = 0
      }
      client test {
        ipaddr = 127.0.0.1
        secret = xyzzy5461
        require_message_authenticator = yes
      }
      modules {
        pap {
        }
      }
      server default {
        listen {
          type = auth
          ipaddr = 127.0.0.1
          port = ${port}
        }
        authorize {
          if (&User-Name == "nemo") {
            update control { &Cleartext-Password := "arctangent" }
          }
          if (&User-Name == "long") {
            update control { &Cleartext-Password := "${longPassword}" }
          }
          update reply {
            &Reply-Message := "hello, captain"
          }
          pap
        }
        authenticate {
          Auth-Type PAP {
            pap
          }
        }
      }`,
    );
    writeFileSync(join(folder.path, 'dictionary'), '');
    server = await startServer(
      'freeradius',
      ['-f', '-x', '-l', 'stdout', '-d', folder.path],
      /Ready to process requests/,
    );
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  function radius(keys: Record<string, unknown>) {
    return checked({ type: 'radius', secret: 'xyzzy5461', timeout: '2s', ...keys }, port);
  }

  test('lets who gives the password in', async () => {
    const { result, lines } = await radius({ user: 'nemo', password: 'arctangent' });
    expect(result).toMatchObject({ isGood: true, detail: 'Access-Accept: hello, captain' });
    expect(JSON.stringify(lines)).not.toContain('arctangent');
    expect((await radius({ user: 'long', password: longPassword })).result).toMatchObject({ isGood: true });
  });

  test('rejects another password, and nobody it knows', async () => {
    const rejected = {
      isGood: false,
      phase: 'expect',
      reason: 'got Access-Reject: hello, captain, want Access-Accept',
    };
    expect((await radius({ user: 'nemo', password: 'wrong' })).result).toMatchObject(rejected);
    expect((await radius({ user: 'ahab' })).result).toMatchObject(rejected);
  });

  test('tells its state where no user is given', async () => {
    expect((await radius({})).result).toMatchObject({ isGood: true, detail: 'Access-Accept' });
  });

  test('does not answer what another secret signs', async () => {
    const keys = { user: 'nemo', password: 'arctangent', secret: 'wrong', timeout: '400ms' };
    expect((await radius(keys)).result).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'no answer within 400ms',
    });
  });

  test('that is frozen answers nothing in time', async () => {
    await server.freeze();
    const { result } = await radius({ timeout: '300ms' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
  });
});

test('a closed port refuses', async () => {
  const { result } = await checked({ type: 'radius', secret: 'x' }, await freePort());
  expect(result).toMatchObject({ isGood: false, phase: 'connect', reason: 'connection refused' });
});

test('a password that has no room is said before anything is sent', async () => {
  const keys = { type: 'radius', secret: 'x', user: 'nemo', password: 'x'.repeat(129) } as const;
  expect((await checked(keys, await freePort())).result).toMatchObject({
    phase: 'run',
    reason: 'password of 129 bytes: wanted at most 128',
  });
});
