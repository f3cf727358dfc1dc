import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { authorityIn } from './certificates.ts';
import { freePorts, newFolder, start } from './servers.ts';
import { checked } from './site.ts';
import { bad, good } from './verdict.ts';

requires('nginx', 'openssl')('checks of nginx by HTTP', () => {
  const large = 'x'.repeat(200_000);
  let folder: ReturnType<typeof newFolder>;
  let nginx: Awaited<ReturnType<typeof start>>;
  let ca: string;
  let [plain, secure, expired, own] = [0, 0, 0, 0];

  beforeAll(async () => {
    folder = newFolder();
    const authority = authorityIn(folder.path);
    ca = authority.ca;
    [plain, secure, expired, own] = (await freePorts(4)) as [number, number, number, number];
    const pages = join(folder.path, 'pages');
    mkdirSync(pages);
    writeFileSync(join(pages, 'alive'), 'alive and well\n');
    writeFileSync(join(pages, 'large'), large);
    writeFileSync(
      join(pages, 'made.shtml'),
      'made <!--#echo var="server_protocol" --> for <!--#echo var="http_host" -->',
    );
    const listen = (port: number, name: string, days: number) => {
      const { certificate, key } = days === 0 ? authority.selfSigned(name) : authority.sign(name, days);
      return `server { listen 127.0.0.1:${port} ssl http2; ssl_certificate ${certificate}; ssl_certificate_key ${key}; include pages.conf; }`;
    };
    writeFileSync(
      join(folder.path, 'pages.conf'),
      `root ${pages}; types { text/html shtml; } default_type text/plain;
       location ~ shtml$ { ssi on; }
       location /busy { return 503; }
       location /moved { return 302 /alive; }
       location /round { return 302 /round; }
       location /secure { return 301 https://www.example.org:${secure}/alive; }
       location /agent { return 200 "$request_method|$http_host|$server_protocol|$http_user_agent|$http_connection|$remote_addr"; }
       location /slow { limit_rate 100; alias ${pages}/large; }`,
    );
    writeFileSync(
      join(folder.path, 'nginx.conf'),
      `daemon off; master_process off; pid ${folder.path}/pid; error_log stderr;
       events {} http { access_log off; ssl_protocols TLSv1.2 TLSv1.3;
       client_body_temp_path ${folder.path}/a; proxy_temp_path ${folder.path}/b; fastcgi_temp_path ${folder.path}/c;
       uwsgi_temp_path ${folder.path}/d; scgi_temp_path ${folder.path}/e;
       server { listen 127.0.0.1:${plain}; include pages.conf; }
       ${listen(secure, 'www.example.org', 6)} ${listen(expired, 'old.example.org', -1)} ${listen(own, 'own.example.org', 0)} }`,
    );
    nginx = await start(
      'nginx',
      ['-e', 'stderr', '-c', join(folder.path, 'nginx.conf')],
      [plain, secure, expired, own],
    );
  });
  afterAll(async () => {
    await nginx?.stop();
    folder?.remove();
  });

  const digest = (algorithm: string, text: string) => createHash(algorithm).update(text).digest('hex');

  test.each(['HTTP/1.0', 'HTTP/1.1'])('status and body by %s', async (version) => {
    const http = { type: 'http', version } as const;
    expect(await good({ ...http, path: '/alive' }, plain)).toBe('200 OK');
    expect(await good({ ...http, path: '/alive', contains: 'alive and' }, plain)).toBe('200 OK');
    expect(await good({ ...http, path: '/alive', matches: '^alive .* well' }, plain)).toBe('200 OK');
    expect(await good({ ...http, path: '/alive', notMatches: 'dead' }, plain)).toBe('200 OK');
    expect(await good({ ...http, path: '/alive', method: 'HEAD' }, plain)).toBe('200 OK');
    expect(await good({ ...http, path: '/busy', status: ['500-599', 200] }, plain)).toBe(
      '503 Service Temporarily Unavailable',
    );
    expect(await bad({ ...http, path: '/busy' }, plain)).toBe(
      'expect: got 503 Service Temporarily Unavailable, want 200-299',
    );
    expect(await bad({ ...http, path: '/alive', contains: 'dead' }, plain)).toBe(
      'expect: body without "dead": got "alive and well"',
    );
    expect(await bad({ ...http, path: '/alive', matches: '^well' }, plain)).toBe(
      'expect: body does not match /^well/: got "alive and well"',
    );
    expect(await bad({ ...http, path: '/alive', notMatches: 'well' }, plain)).toBe(
      'expect: body matches /well/: got "alive and well"',
    );
  });

  test('a body in chunks, which HTTP/1.0 does not have', async () => {
    const made = { type: 'http', path: '/made.shtml', host: 'www.example.org' } as const;
    const curl = 'made HTTP/1.1 for www.example.org';
    expect(await good({ ...made, sha256: digest('sha256', curl) }, plain)).toBe('200 OK');
    expect(await good({ ...made, version: 'HTTP/1.0', contains: 'made HTTP/1.0 for' }, plain)).toBe('200 OK');
    const { lines } = await checked(made, plain);
    expect(lines.map(({ text }) => text)).toContain('Transfer-Encoding: chunked');
  });

  test('what the server sees', async () => {
    const agent = { type: 'http', path: '/agent', source: '127.0.0.7' } as const;
    expect(
      await good({ ...agent, contains: `GET|127.0.0.1:${plain}|HTTP/1.1|headgate|close|127.0.0.7` }, plain),
    ).toBe('200 OK');
    expect(await good({ ...agent, host: 'shop', contains: 'GET|shop|' }, plain)).toBe('200 OK');
    expect(
      await good({ ...agent, path: 'http://far.example.org/agent', contains: 'GET|far.example.org|' }, plain),
    ).toBe('200 OK');
  });

  test('digests, and bodies that are longer than is read', async () => {
    const alive = { type: 'http', path: '/alive' } as const;
    expect(await good({ ...alive, md5: digest('md5', 'alive and well\n') }, plain)).toBe('200 OK');
    expect(await bad({ ...alive, md5: digest('md5', 'alive') }, plain)).toBe(
      `expect: body with MD5 ${digest('md5', 'alive and well\n')}, want ${digest('md5', 'alive')}`,
    );
    const much = { type: 'http', path: '/large' } as const;
    expect(await good(much, plain)).toBe('200 OK');
    expect(await good({ ...much, maxBody: '200k', sha256: digest('sha256', large) }, plain)).toBe('200 OK');
    expect(await bad({ ...much, sha256: digest('sha256', large) }, plain)).toBe(
      'expect: body has more than 65536 bytes: raise maxBody to compare its SHA-256',
    );
    expect(await bad({ ...much, contains: 'y' }, plain)).toMatch(
      /^expect: first 65536 bytes of the body without "y": got "xxx/,
    );
  });

  test('several pages', async () => {
    const pages = [
      { path: '/alive', contains: 'well' },
      { path: '/busy', status: [503] },
    ];
    expect(await good({ type: 'http', pages }, plain)).toBe('2 pages, 503 Service Temporarily Unavailable');
    expect(await bad({ type: 'http', pages: [...pages, { path: '/nowhere' }] }, plain)).toBe(
      'expect: /nowhere: got 404 Not Found, want 200-299',
    );
  });

  test('redirections only where they are wanted, and to the same real server', async () => {
    expect(await bad({ type: 'http', path: '/moved' }, plain)).toContain('got 302');
    expect(await good({ type: 'http', path: '/moved', redirects: 1, contains: 'alive' }, plain)).toBe(
      '200 OK',
    );
    expect(await good({ type: 'http', path: '/secure', redirects: 1, contains: 'alive' }, plain)).toBe(
      '200 OK',
    );
    expect(await bad({ type: 'http', path: '/round', redirects: 3 }, plain)).toContain('got 302');
  });

  test('TLS: the name, the authority, the end of the certificate', async () => {
    const https = { type: 'https', path: '/alive', host: 'www.example.org' } as const;
    expect(await good(https, secure)).toBe('200 OK, certificate expires in 5 days');
    expect((await checked(https, secure)).result).toMatchObject({ warning: 'certificate expires in 5 days' });
    expect(await good({ ...https, expiryWarning: '1d' }, secure)).toBe('200 OK');
    expect(await good({ ...https, verify: true, ca }, secure)).toMatch(/^200 OK/);
    expect(await good({ type: 'https', path: '/alive', verify: true, ca }, secure)).toMatch(/^200 OK/);
    expect(await bad({ ...https, verify: true }, secure)).toBe(
      'tls: certificate is of an authority that is not known here',
    );
    expect(await bad({ ...https, host: 'shop.example.org', verify: true, ca }, secure)).toBe(
      'tls: certificate is for www.example.org, 127.0.0.1, not for shop.example.org',
    );
    const yesterday = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
    expect(await bad({ ...https, verify: true, ca }, expired)).toBe(`tls: certificate expired ${yesterday}`);
    expect(await good(https, expired)).toBe(`200 OK, certificate expired ${yesterday}`);
    expect(await bad({ ...https, verify: true }, own)).toBe('tls: self-signed certificate');
    expect(await bad({ type: 'https' }, plain)).toBe('tls: the server answers without TLS');
    expect(await bad({ type: 'http' }, secure)).toBe('expect: got 400 Bad Request, want 200-299');
    expect(await good({ type: 'tls', expiryWarning: '0s' }, secure)).toBe('TLSv1.3');
    expect(await good({ type: 'tls' }, secure)).toBe('TLSv1.3, certificate expires in 5 days');
    expect(await bad({ type: 'tls', verify: true, ca: '/nowhere.pem' }, secure)).toBe(
      'tls: cannot read ca "/nowhere.pem": no such file or directory',
    );
  });

  test('HTTP/2', async () => {
    const two = {
      type: 'https',
      version: 'HTTP/2',
      path: '/agent',
      host: 'www.example.org',
      expiryWarning: '0s',
    } as const;
    expect(await good({ ...two, contains: 'GET|www.example.org|HTTP/2.0|headgate||127.0.0.1' }, secure)).toBe(
      '200',
    );
    expect(await good({ ...two, method: 'HEAD', maxBody: 0 }, secure)).toBe('200');
    expect(await bad({ ...two, path: '/busy' }, secure)).toBe('expect: got 503, want 200-299');
    expect(
      await good({ ...two, path: '/large', maxBody: '200k', sha256: digest('sha256', large) }, secure),
    ).toBe('200');
    expect(await good({ ...two, path: '/large', maxBody: 1000 }, secure)).toBe('200');
    expect(await bad({ ...two, path: '/slow', timeout: '300ms' }, secure)).toBe(
      'expect: no answer within 300ms',
    );
    expect(await bad({ type: 'http', version: 'HTTP/2' }, plain)).toMatch(
      /^expect: the server does not speak HTTP\/2/,
    );
  });

  test('a slow server ends with the time', async () => {
    const { result } = await checked({ type: 'http', path: '/slow', timeout: '300ms' }, plain);
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
    expect(result.durationMs).toBeGreaterThanOrEqual(299);
  });

  describe('all checks together leave nothing open', () => {
    test('no socket', async () => {
      await expect
        .poll(() => process.getActiveResourcesInfo().filter((name) => /TCPSocket|TLS/.test(name)))
        .toEqual([]);
    });
  });
});
