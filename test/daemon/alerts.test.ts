import { readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createServer as createTcpServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { loadText } from '../../src/config/load.ts';
import { type EventLog, openEventLog } from '../../src/control/events.ts';
import { wantedOf } from '../../src/control/wanted.ts';
import { openAlerts, outletLimits, paceLimits } from '../../src/daemon/alerts/alerts.ts';
import { authorityIn } from '../checks/certificates.ts';
import { freePorts, newFolder } from '../checks/servers.ts';
import { requires } from '../requirements.ts';
import { type MailServer, startMailServer } from './mail-server.ts';

const services = `virtualServices:
  - name: web
    address: 192.0.2.10:80
    onQuorumDown: [/bin/sh, -c, 'echo "$HEADGATE_EVENT $HEADGATE_SERVICE" >> FOLDER/hooks']
    realServers:
      - name: web1
        address: 10.0.0.11
        onDown: [/bin/sh, -c, 'sleep 0.2; echo "$HEADGATE_EVENT $HEADGATE_SERVICE/$HEADGATE_REAL_SERVER $HEADGATE_REASON" >> FOLDER/hooks']
        onUp: [/bin/sh, -c, 'echo "$HEADGATE_EVENT" >> FOLDER/hooks']
  - { name: mail, address: 192.0.2.10:25, realServers: [{ name: m1, address: 10.0.0.12 }] }
`;

requires(
  'root',
  'postfix',
  'openssl',
)('alerts', () => {
  let folder: ReturnType<typeof newFolder>;
  let mail: MailServer;
  let port = 0;
  let ca = '';
  let open: ReturnType<typeof openAlerts> | undefined;
  let log: string[] = [];
  let events: EventLog;
  const servers: Server[] = [];

  beforeAll(async () => {
    folder = newFolder();
    const authority = authorityIn(folder.path);
    ({ ca } = authority);
    const { certificate, key } = authority.sign('mail.example.org', 90);
    [port] = (await freePorts(1)) as [number];
    mail = await startMailServer(folder.path, port, {
      smtpd_tls_cert_file: certificate,
      smtpd_tls_key_file: key,
      smtpd_tls_security_level: 'may',
    });
  });
  afterEach(async () => {
    await open?.stop();
    for (const server of servers.splice(0)) server.close();
  });
  afterAll(async () => {
    await mail?.stop();
    folder?.remove();
  });

  /** Listens with these alerts; `pace` messages a second. */
  function listen(alerts: string, pace = paceLimits, now = () => new Date()): void {
    const text = `${services.replaceAll('FOLDER', folder.path)}alerts:\n${alerts}`;
    const { configuration, problems } = loadText(text, 'h.yaml');
    expect(problems).toEqual([]);
    const { reactions } = wantedOf(configuration!);
    log = [];
    events = openEventLog(undefined, { now: () => new Date(), failed: () => {} });
    open = openAlerts({
      events,
      reactions: () => reactions,
      log: (_, what, fields) => log.push(`${what}: ${fields?.reason}`),
      now,
      limits: { pace, outlet: { ...outletLimits, pauseMs: 50, attemptMs: 5_000 } },
    });
  }

  const down = (reason: string, realServer = 'web1', service = 'web'): void =>
    events.note({
      kind: 'real-server-down',
      what: `${service}/${realServer} is down: ${reason}`,
      ...{ service, realServer, reason },
    });
  const up = (): void =>
    events.note({
      kind: 'real-server-up',
      what: 'web/web1 is up: 200 OK',
      service: 'web',
      realServer: 'web1',
      reason: '200 OK',
    });

  const mailAlert = (more = '', to = 'admin@example.org'): string =>
    `  mail: { server: "127.0.0.1:${port}", from: headgate@example.org, to: [${to}]${more} }\n`;
  const about = (words: string) =>
    mail
      .mails()
      .map(readable)
      .filter((one) => one.includes(words));

  test('a mail for each event that is asked for, delivered by a real mail server', async () => {
    listen(mailAlert(', services: [web]'));
    down('connection refused, ä');
    down('elsewhere', 'm1', 'mail');
    await expect.poll(() => about('web/web1').length, { timeout: 20_000 }).toBe(1);
    const [text = ''] = about('web/web1');
    expect(text).toMatch(/^Return-Path: <headgate@example\.org>$/m);
    expect(text).toMatch(/^Auto-Submitted: auto-generated$/m);
    expect(text).toContain('web/web1 is down: connection refused, ä');
    up();
    await expect.poll(() => about('real-server-up').length, { timeout: 20_000 }).toBe(1);
    expect(about('elsewhere')).toEqual([]);
    await expect
      .poll(mail.said)
      .toMatch(/disconnect from unknown\[127\.0\.0\.1\] ehlo=1 mail=1 rcpt=1 data=1 quit=1/);
    expect(log).toEqual([]);
  });

  test('by STARTTLS, with the certificate verified or refused', async () => {
    listen(mailAlert(', transport: startTls, verify: false'));
    down('by TLS');
    await expect.poll(() => about('by TLS').length, { timeout: 20_000 }).toBe(1);
    await expect.poll(mail.said).toMatch(/ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1/);
    expect(ca).not.toBe('');
    await open!.stop();
    listen(mailAlert(', transport: startTls'));
    down('not trusted');
    await expect.poll(() => log[0]).toMatch(/certificate is of an authority that is not known here/);
    expect(about('not trusted')).toEqual([]);
  });

  test('a line that begins with a dot arrives as it is; an address that is refused stops nobody else', async () => {
    listen(mailAlert('', 'nobody@elsewhere.example, admin@example.org'));
    down('x\n.\nQUIT');
    await expect.poll(() => about('web/web1 is down: x\n.\nQUIT\n').length, { timeout: 20_000 }).toBe(1);
    await open!.stop();
    listen(mailAlert('', 'nobody@elsewhere.example'));
    down('to nobody');
    await expect
      .poll(() => log)
      .toEqual([expect.stringMatching(/^alert given up: .*every address is refused: .* 554 /)]);
  });

  test('many events are few mails, and a real server that stays down is told of again', async () => {
    listen(mailAlert(', repeat: 500ms'), { messages: 2, withinMs: 1_000, listed: 3 });
    for (let i = 1; i <= 9; i++) down(`burst ${i}`);
    await expect.poll(() => about('and 4 more').length, { timeout: 20_000 }).toBe(1);
    // The first two may be delivered after it.
    await expect.poll(() => about('burst').filter((one) => !one.includes('still: ')).length).toBe(3);
    await expect.poll(() => about('still: web/web1').length, { timeout: 20_000 }).toBeGreaterThan(1);
  });

  test('one without a program is told of again as well, one that is nowhere described is not', async () => {
    listen(mailAlert(', repeat: 100ms'));
    down('gone', 'm9', 'mail');
    down('again', 'm1', 'mail');
    await expect.poll(() => about('still: mail/m1').length, { timeout: 20_000 }).toBeGreaterThan(1);
    expect(about('still: mail/m9')).toEqual([]);
  });

  test('a clock that is set back holds no message up', async () => {
    let offsetMs = 0;
    listen(
      mailAlert(', repeat: 500ms'),
      { messages: 2, withinMs: 500, listed: 3 },
      () => new Date(Date.now() + offsetMs),
    );
    for (let i = 1; i <= 2; i++) down(`before ${i}`);
    offsetMs = -86_400_000;
    for (let i = 1; i <= 9; i++) down(`after ${i}`);
    await expect.poll(() => about('after 1').length, { timeout: 20_000 }).toBeGreaterThan(0);
    await expect
      .poll(() => about('still: web/web1 is down: after').length, { timeout: 20_000 })
      .toBeGreaterThan(0);
  });

  test('a mail server that is dead, or silent, holds up nobody; when it is back the mail comes', async () => {
    const [free] = (await freePorts(1)) as [number];
    listen(mailAlert().replace(`:${port}`, `:${free}`));
    const before = performance.now();
    for (let i = 0; i < 1000; i++) down(`dead ${i}`);
    expect(performance.now() - before).toBeLessThan(30_000);
    await expect.poll(() => log[0]).toMatch(/^alert not delivered, is tried again: .*connection refused/);
    const other = newFolder();
    const revived = await startMailServer(other.path, free);
    try {
      await expect.poll(() => revived.mails().length, { timeout: 30_000 }).toBeGreaterThan(0);
    } finally {
      await revived.stop();
      other.remove();
    }
  });

  test('a silent server is given up in time', async () => {
    const silent = createTcpServer((socket) => socket.on('error', () => socket.destroy()));
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    listen(mailAlert().replace(`:${port}`, `:${(silent.address() as AddressInfo).port}`));
    down('silent');
    const before = performance.now();
    await open!.stop();
    expect(performance.now() - before).toBeLessThan(20_000);
    silent.close();
  });

  test('a webhook gets the event as JSON, with its secret, and again while it fails', async () => {
    const got: { headers: IncomingHttpHeaders; body: unknown }[] = [];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += chunk));
      request.on('end', () => {
        got.push({ headers: request.headers, body: JSON.parse(body) });
        response.writeHead(got.length === 1 ? 503 : 204).end();
      });
    });
    servers.push(server);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port: web } = server.address() as AddressInfo;
    listen(`  webhook: { url: "http://127.0.0.1:${web}/hook", secret: hush, on: [real-server-down] }\n`);
    down('connection refused');
    up();
    await expect.poll(() => got.length).toBe(2);
    expect(got[1]).toMatchObject({
      headers: { 'content-type': 'application/json', authorization: 'Bearer hush' },
      body: {
        kind: 'real-server-down',
        service: 'web',
        realServer: 'web1',
        reason: 'connection refused',
        id: 1,
      },
    });
    expect(got[0]!.body).toEqual(got[1]!.body);
    expect(log).toEqual([
      `alert not delivered, is tried again: http://127.0.0.1:${web}: got 503, want 200-299`,
    ]);
  });

  test('a program has the event in its environment; programs of a service run in the order of events', async () => {
    const script = join(folder.path, 'tell');
    const said = join(folder.path, 'told');
    writeFileSync(
      script,
      `#!/bin/sh\necho "$1 $HEADGATE_EVENT $HEADGATE_REAL_SERVER $HEADGATE_REASON" >> ${said}\n`,
      {
        mode: 0o755,
      },
    );
    listen(`  command: { command: [${script}, word], on: [real-server-down] }\n`);
    down('refused');
    up();
    events.note({ kind: 'quorum-lost', what: '', service: 'web', quorum: 1 });
    await expect
      .poll(() => readFileSync(join(folder.path, 'hooks'), 'utf8').split('\n').slice(-4), { timeout: 10_000 })
      .toEqual(['real-server-down web/web1 refused', 'real-server-up', 'quorum-lost web', '']);
    await expect.poll(() => readFileSync(said, 'utf8')).toBe('word real-server-down web1 refused\n');
  });

  test('a program that fails, is missing or never ends is told of, and ended', async () => {
    listen(`  command:
    - { command: [/bin/sh, -c, 'echo no luck >&2; exit 3'] }
    - { command: [/nonexistent] }
    - { command: [/bin/sh, -c, 'sleep 77 & sleep 77'] }
`);
    down('x');
    await expect.poll(() => log.length, { timeout: 10_000 }).toBe(3);
    expect(log.toSorted()).toEqual([
      expect.stringContaining('/bin/sh: exit code 3: no luck'),
      expect.stringContaining('/bin/sh: not over in time, killed'),
      expect.stringContaining('/nonexistent: spawn /nonexistent ENOENT'),
    ]);
  });
});

/** A mail with its body decoded. */
function readable(text: string): string {
  const [header = '', body = ''] = text.split(/\n\n(.*)/s);
  return /Encoding: base64/.test(header) ? `${header}\n\n${Buffer.from(body, 'base64')}` : text;
}
