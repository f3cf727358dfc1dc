import { createSocket } from 'node:dgram';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { requires } from '../requirements.ts';
import { freePort, type RealServer, serverFolder, startServer } from './server.ts';
import { checked, peer } from './site.ts';

requires('kamailio')('a SIP server', () => {
  const folder = serverFolder();
  let server: RealServer;
  let port: number;

  beforeAll(async () => {
    port = await freePort();
    const libraries = '/usr/lib';
    const machine = readdirSync(libraries).find((name) => name.endsWith('-linux-gnu'));
    const path = join(folder.path, 'kamailio.cfg');
    writeFileSync(
      path,
      `#!KAMAILIO
debug=2
children=1
tcp_children=1
listen=udp:127.0.0.1:${port}
listen=tcp:127.0.0.1:${port}
mpath="${libraries}/${machine}/kamailio/modules/"
loadmodule "sl.so"
loadmodule "pv.so"
request_route {
  if ($rU == "nobody") { sl_send_reply("404", "Not Found"); exit; }
  sl_send_reply("200", "Alive");
}
`,
    );
    server = await startServer(
      'kamailio',
      ['-DD', '-E', '-f', path, '-Y', folder.path, '-m', '16', '-M', '4'],
      async () => (await sip({ timeout: '100ms', transport: 'tcp' })).isGood,
    );
  });
  afterAll(async () => {
    await server?.stop();
    folder.remove();
  });

  async function sip(keys: Record<string, unknown>) {
    return (await checked({ type: 'sip', timeout: '2s', ...keys }, port)).result;
  }

  test.each(['udp', 'tcp'])('answers OPTIONS by %s', async (transport) => {
    expect(await sip({ transport })).toMatchObject({ isGood: true, detail: '200 Alive' });
    expect(await sip({ transport, user: 'carol' })).toMatchObject({ isGood: true });
    expect(await sip({ transport, user: 'nobody@example.org' })).toMatchObject({
      isGood: false,
      phase: 'expect',
      reason: 'got 404 Not Found, want 200-299',
    });
  });

  test.each(['udp', 'tcp'])('that is frozen answers nothing in time (%s)', async (transport) => {
    await server.freeze();
    const result = await sip({ transport, timeout: '300ms' });
    server.thaw();
    expect(result).toMatchObject({ isGood: false, phase: 'expect', reason: 'no answer within 300ms' });
  });
});

test.each(['udp', 'tcp'])('a closed port refuses (%s)', async (transport) => {
  const { result } = await checked({ type: 'sip', transport }, await freePort());
  expect(result).toMatchObject({ isGood: false, phase: 'connect', reason: 'connection refused' });
});

test('what is no answer of SIP is shown, and a provisional one waited beyond', async () => {
  const web = await peer((socket) =>
    socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
  );
  expect((await checked({ type: 'sip', transport: 'tcp' }, web.port)).result).toMatchObject({
    phase: 'expect',
    reason: expect.stringMatching(/^the answer is not one of SIP\/2.0: "HTTP\/1.1 400/),
  });
  await web.close();

  const slow = createSocket('udp4');
  await new Promise<void>((resolve) => slow.bind(0, '127.0.0.1', resolve));
  slow.on('message', (request, from) => {
    const headers = request.toString().split('\r\n').slice(1).join('\r\n');
    slow.send(`SIP/2.0 100 Trying\r\n${headers}`, from.port);
    slow.send(`SIP/2.0 204 No Notification\r\n${headers}`, from.port);
  });
  const { result } = await checked({ type: 'sip' }, slow.address().port);
  slow.close();
  expect(result).toMatchObject({ isGood: true, detail: '204 No Notification' });
});
