import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WhenGone } from '../../src/model/virtual-service.ts';
import { setSocketOption } from '../../src/sys/socket.ts';
import { requires } from '../requirements.ts';
import { at, linkKinds, plans, type Site, smallTable, standUp } from './site.ts';
import {
  closeSocket,
  connectOn,
  echoLine,
  exchange,
  freshPort,
  outcome,
  readLine,
  receive,
  sendAll,
  streamOn,
} from './sockets.ts';
import { upload } from './transfer.ts';

/* Real clients, whose real server is taken out of the configuration while they talk. */

const headgate = resolve(import.meta.dirname, '../../bin/headgate.js');
/** linux/tcp.h: a socket in repair mode is closed without a word on the wire. */
const [ipprotoTcp, tcpRepair] = [6, 19];
const methods = [
  { method: 'masquerade', vip: 'vip', ports: { tcp: 7007, udp: 5353, http: 8080 } },
  { method: 'direct-routing', vip: 'sharedVip', ports: { tcp: 7, udp: 5300, http: 80 } },
  { method: 'full-nat', vip: 'vip', ports: { tcp: 7007, udp: 5353, http: 8080 } },
] as const;
const cases = ([4, 6] as const).flatMap((family) => methods.map((one) => ({ family, ...one })));

requires(
  'root',
  'netns',
  'bpf',
)('real servers that are taken away', () => {
  describe.each(linkKinds)('$links', (kind) => {
    let site: Site;
    const file = join(tmpdir(), `hgfates-${process.pid}.yaml`);
    beforeAll(async () => {
      site = await standUp('fates', kind, { started: [1, 2] });
    });
    afterAll(async () => {
      rmSync(file, { force: true });
      await site?.down();
    });

    describe.each(cases)('IPv$family, $method', ({ family, method, vip, ports }) => {
      const plan = plans[family];
      const address = plan[vip];

      /** Puts services in force that real server n serves; the words of the plan. */
      function serve(whenGone: WhenGone, n: 1 | 2): string {
        const service = (name: string, port: number, real: number, protocol = '') => [
          `  - name: ${name}`,
          `    address: "${at(address, port)}${protocol}"`,
          `    whenGone: ${whenGone}`,
          `    method: ${method}`,
          `    realServers: [{ name: real${n}, address: "${at(plan.backOf(n), real)}" }]`,
        ];
        const text = [
          'own: true',
          'virtualServices:',
          ...service('echo', 7, ports.tcp),
          ...service('ask', 5300, ports.udp, '/udp'),
          ...service('files', 80, ports.http),
        ];
        writeFileSync(file, `${text.join('\n')}\n`);
        const { status, stdout, stderr } = site.lab.run(
          'director',
          process.execPath,
          [headgate, 'apply', file, '--yes'],
          { env: smallTable },
        );
        if (status !== 0) throw new Error(`apply: status ${status}, ${stderr}${stdout}`);
        return stdout;
      }

      /** An established connection to real1. */
      function talk(port = freshPort()): number {
        const target = { address, port: 7 };
        const from = { address: plan.client, port };
        const fd = connectOn(site.lab, 'client', 'stream', target, { from, timeoutMs: 2000 });
        expect(readLine(fd)).toBe('real1');
        expect(echoLine(fd, 'hello')).toBe('hello');
        return fd;
      }

      /** Which of the client's ports have an established connection at a real server (proc(5), tcp). */
      const established = (n: number): number[] =>
        site.lab.inside(`real${n}`, () =>
          ['tcp', 'tcp6'].flatMap((table) =>
            readFileSync(`/proc/thread-self/net/${table}`, 'utf8')
              .split('\n')
              .slice(1)
              .map((line) => line.trim().split(/\s+/))
              .flatMap(([, , remote, state]) =>
                state === '01' ? [Number.parseInt(remote!.split(':')[1]!, 16)] : [],
              ),
          ),
        );

      /** The client's port as the real server sees it: with full NAT it is one of the director's, and a new one. */
      const seenPort = (port: number, before: readonly number[]): number | undefined =>
        method === 'full-nat' ? established(1).find((one) => !before.includes(one)) : port;

      it('reset: both ends know at once, and the next connection goes elsewhere', async () => {
        serve('reset', 1);
        const port = freshPort();
        const before = established(1);
        const fd = talk(port);
        const seen = seenPort(port, before);
        expect(established(1)).toContain(seen);
        expect(serve('reset', 2)).toMatch(/- echo\/.*: \d+ connections? ends? with a reset/);
        expect(echo(fd)).toBe('ECONNRESET');
        await expect.poll(() => established(1)).not.toContain(seen);
        closeSocket(fd);
        expect(site.events('EVENT_CONNECTION_RESET')).toBeGreaterThan(0);
        const again = connectOn(site.lab, 'client', 'stream', { address, port: 7 });
        expect(readLine(again)).toBe('real2');
        closeSocket(again);
      });

      it('reset: in the middle of much data', async () => {
        serve('reset', 1);
        const from = { address: plan.client, port: freshPort() };
        const before = established(1);
        const stream = streamOn(site.lab, 'client', { address, port: 80 }, { from });
        const sent = upload(stream, 2_000_000_000).catch((error: NodeJS.ErrnoException) => error.code);
        let seen: number | undefined;
        await expect
          .poll(() => {
            seen = seenPort(from.port, before);
            return seen !== undefined && established(1).includes(seen);
          })
          .toBe(true);
        serve('reset', 2);
        // A writer hears of it as either of these (tcp(7), write(2)).
        expect(['ECONNRESET', 'EPIPE']).toContain(await sent);
        await expect.poll(() => established(1)).not.toContain(seen);
      });

      // Offloads matter where packets are made of others.
      if (kind.offloads) return;

      it('expire: the client knows at once, a SYN of the same port goes elsewhere', () => {
        serve('expire', 1);
        const port = freshPort();
        const [fd, other] = [talk(port), talk()];
        expect(serve('expire', 2)).toMatch(/- echo\/.*: \d+ connections end with their next packet/);
        expect(echo(other)).toBe('ECONNRESET');
        closeSocket(other);
        setSocketOption(fd, ipprotoTcp, tcpRepair, 1);
        closeSocket(fd);
        const from = { address: plan.client, port };
        const again = connectOn(site.lab, 'client', 'stream', { address, port: 7 }, { from });
        expect(readLine(again)).toBe('real2');
        closeSocket(again);
      });

      it('UDP moves at once under expire, and after one refusal under reset', () => {
        for (const whenGone of ['expire', 'reset'] as const) {
          serve(whenGone, 1);
          const target = { address, port: 5300 };
          const fd = connectOn(site.lab, 'client', 'datagram', target, { timeoutMs: 2000 });
          expect(exchange(fd, Buffer.from('who')).name).toBe('real1');
          serve(whenGone, 2);
          if (whenGone === 'reset')
            expect(outcome(() => exchange(fd, Buffer.from('who')))).toBe('ECONNREFUSED');
          expect(exchange(fd, Buffer.from('who')).name).toBe('real2');
          closeSocket(fd);
        }
      });

      it('keep: it goes on, to its end', async () => {
        serve('keep', 1);
        const port = freshPort();
        const before = established(1);
        const fd = talk(port);
        const seen = seenPort(port, before);
        expect(serve('keep', 2)).toMatch(/- echo\/.*: \d+ connections? (goes|go) on to it/);
        for (let n = 0; n < 3; n++) expect(echoLine(fd, `line ${n}`)).toBe(`line ${n}`);
        const other = connectOn(site.lab, 'client', 'stream', { address, port: 7 });
        expect(readLine(other)).toBe('real2');
        closeSocket(other);
        closeSocket(fd);
        await expect.poll(() => established(1)).not.toContain(seen);
      });

      it('drop: silence, and what was said arrives when it is back', () => {
        serve('drop', 1);
        const fd = talk();
        expect(serve('drop', 2)).toMatch(/- echo\/.*: \d+ connections? falls? silent/);
        expect(echo(fd)).toBe('EAGAIN');
        serve('drop', 1);
        // When the client says it again, which it does ever more rarely.
        let heard = 'EAGAIN';
        for (let n = 0; n < 8 && heard === 'EAGAIN'; n++)
          heard = outcome(() => expect(readLine(fd)).toBe('hello'));
        expect(heard).toBe('ok');
        closeSocket(fd);
      });
    });
  });
});

/** What becomes of a line that is said: 'ok' when it comes back. */
function echo(fd: number): string {
  return outcome(() => {
    sendAll(fd, Buffer.from('hello\n'));
    receive(fd);
  });
}
