import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { DestinationId, FullNat } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { add, freePort, loopback, openSite, type Site, until } from './site.ts';

let site: Site | undefined;
let program: ChildProcess | undefined;
let folder: string | undefined;

afterEach(async () => {
  await site?.close();
  site = undefined;
  if (program && program.exitCode === null && program.signalCode === null) {
    const gone = once(program, 'exit');
    program.kill('SIGKILL');
    await gone;
  }
  program = undefined;
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

const cases = [
  ['v1', '127.0.0.1'],
  ['v2', '127.0.0.1'],
  ['v1', '::1'],
  ['v2', '::1'],
  ['full NAT', '127.0.0.1'],
] as const;

/** What a real server answers that was told of its client: `client port, virtual address`. */
async function answerThrough(version: 'v1' | 'v2' | 'full NAT', host: string, server: DestinationId) {
  site = openSite(version === 'full NAT' ? {} : { proxyProtocol: version });
  const id = await site.service({ host });
  const fullNat = { localAddresses: [], clientAddress: 'proxy-protocol' } as const;
  await site.change(add(id, server, version === 'full NAT' ? { method: 'full-nat', fullNat } : {}));
  const client = await site.client(id);
  client.socket.write('GET / HTTP/1.0\r\n\r\n');
  const line = await until(() => {
    const found = /^client (.*)$/m.exec(client.text())?.[1];
    if (found === undefined) throw new Error(`the answer was "${client.text()}"`);
    return found.trim();
  });
  return { line, wanted: `${host} ${client.socket.localPort}, virtual ${host}` };
}

async function start(command: string, args: readonly string[], server: DestinationId): Promise<void> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  program = child;
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  const probe = openSite();
  try {
    await until(async () => {
      expect(child.exitCode, said).toBeNull();
      const { socket } = await probe.client(server);
      expect(socket.remotePort, said).toBe(server.port);
    });
  } finally {
    await probe.close();
  }
}

const place = async (host: string): Promise<DestinationId> => ({
  address: loopback(host),
  port: await freePort(host),
});

const listenAt = ({ address, port }: DestinationId) =>
  `${address.includes(':') ? `[${address}]` : address}:${port}`;

requires('nginx')('nginx, told by the PROXY protocol who the client is', () => {
  test.each(cases)('%s over %s', async (version, host) => {
    const server = await place(host);
    folder = mkdtempSync(join(tmpdir(), 'hg-proxy-'));
    const file = join(folder, 'nginx.conf');
    writeFileSync(
      file,
      `daemon off; master_process off; pid ${folder}/pid; error_log stderr;
       events { worker_connections 64; }
       http {
         access_log off;
         client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
         uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
         server {
           listen ${listenAt(server)} proxy_protocol;
           return 200 "client $proxy_protocol_addr $proxy_protocol_port, virtual $proxy_protocol_server_addr\\n";
         }
       }\n`,
    );
    await start('nginx', ['-c', file, '-p', folder, '-e', 'stderr'], server);
    const { line, wanted } = await answerThrough(version, host, server);
    expect(line).toBe(wanted);
  });
});

describe('haproxy, told by the PROXY protocol who the client is', () => {
  test.for(cases)('%s over %s', async ([version, host], { skip }) => {
    if (spawnSync('haproxy', ['-v']).error) skip('haproxy is not on the PATH: apt-get install haproxy');
    const server = await place(host);
    folder = mkdtempSync(join(tmpdir(), 'hg-proxy-'));
    const file = join(folder, 'haproxy.cfg');
    writeFileSync(
      file,
      `defaults
  mode http
  timeout connect 5s
  timeout client 5s
  timeout server 5s
frontend told
  bind ${listenAt(server)} accept-proxy
  http-request return status 200 content-type text/plain lf-string "client %[src] %[src_port], virtual %[dst]\\n"\n`,
    );
    await start('haproxy', ['-db', '-f', file], server);
    const { line, wanted } = await answerThrough(version, host, server);
    expect(line).toBe(wanted);
  });
});

describe('full NAT on sockets', () => {
  test('real servers see the local addresses, and nothing before the first byte', async () => {
    site = openSite();
    const server = await site.server('real');
    const id = await site.service();
    const fullNat = { localAddresses: [loopback('127.0.0.77')], clientAddress: 'hidden' } as const;
    await site.change(add(id, server, { method: 'full-nat', fullNat }));
    const client = await site.client(id);
    expect(await client.line()).toBe('real');
    expect(server.sockets.map(({ remoteAddress }) => remoteAddress)).toEqual(['127.0.0.77']);
    client.socket.end('what the client says\n');
    expect(await client.ended).toBe('end');
    expect(client.text()).toBe('real\nwhat the client says\n');
  });

  test('what sockets cannot do is refused', async () => {
    site = openSite();
    const server = await site.server('real');
    const [tcp, udp] = [await site.service(), await site.service({ protocol: 'udp' })];
    const apply = async (id: typeof tcp, fullNat: FullNat) =>
      (await site!.plane.apply([add(id, server, { method: 'full-nat', fullNat })]))[0]?.detail;
    expect(await apply(tcp, { localAddresses: [], clientAddress: 'tcp-option' })).toContain(
      'wanted clientAddress proxy-protocol or hidden',
    );
    expect(await apply(udp, { localAddresses: [loopback('127.0.0.77')], clientAddress: 'hidden' })).toContain(
      'wanted no local addresses',
    );
  });
});
