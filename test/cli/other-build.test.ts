import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { productVersion } from '../../src/cli/context.ts';

/*
 * What a daemon of an earlier build answers, as that one did before a real server's description had its checks. No such daemon can
 * be started from this tree, so its answers are given by hand.
 */

const launcher = resolve(import.meta.dirname, '../../bin/headgate.js');
const bundle = resolve(import.meta.dirname, '../../dist/bundle/headgate.cjs');
const earlier = [
  {
    kind: 'real server',
    about: 'web/web1',
    service: { name: 'web', address: 'tcp 192.0.2.10:80', traffic: 'ok', trafficReason: 'all serve' },
    report: { name: 'web1', address: '10.0.0.1:80', state: 'ready', reason: 'not checked' },
  },
];

let folder: string;
let server: Server;
let status: object;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-build-'));
  server = createServer((request, response) => {
    const known: Record<string, unknown> = {
      'GET /v1/status': status,
      'POST /v1/describe': earlier,
      'GET /v1/history': { generations: [{ generation: 1, at: 'then', by: 'run', summary: 'it began' }] },
    };
    const name = `${request.method} ${request.url}`;
    const found = known[name];
    response.statusCode = found ? 200 : 404;
    const message = `Cannot answer ${name}: there is no such request`;
    response.end(JSON.stringify(found ?? { error: { code: 'HG_REQUEST', message } }));
  });
  server.listen(join(folder, 'control.sock'));
  await once(server, 'listening');
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true });
});

const daemonOf = (version: string, build?: string) => ({
  ...{ pid: 4711, version, startedAt: '2026-01-02T03:04:05.000Z', ...(build !== undefined && { build }) },
  dataPlane: { name: 'ebpf', description: 'attached' },
  configuration: {
    file: '/etc/headgate/headgate.yaml',
    generation: 1,
    appliedAt: '2026-01-02T03:04:05.000Z',
  },
});

const headgate = (...words: string[]) =>
  new Promise<{ code: unknown; stdout: string; stderr: string }>((done) => {
    const env = { ...process.env, HEADGATE_SOCKET: join(folder, 'control.sock') };
    execFile(process.execPath, [launcher, ...words], { env }, (error, stdout, stderr) =>
      done({ code: error?.code ?? 0, stdout, stderr }),
    );
  });

const sentence = (version: string, here: string) =>
  `headgate: Cannot go on with what the daemon (process 4711) answers: it runs version ${version} since 2026-01-02T03:04:05.000Z, and this command ${here} [HG_OTHER_BUILD]\n  next: Restart the daemon, which is no event for clients (docs/daemon.md): systemctl restart headgate\n`;

test.each([
  ['an earlier version', '0.0.9', `is version ${productVersion()}`],
  ['an earlier build of the same version', productVersion(), 'is of another build'],
])(
  'a daemon of %s is taken at its word, and named where a command cannot go on with it',
  async (_who, version, here) => {
    status = daemonOf(version);
    expect(await headgate('history')).toEqual({ code: 0, stdout: '  1  then  run: it began\n', stderr: '' });
    const refusal = { code: 1, stdout: '', stderr: sentence(version, here) };
    expect(await headgate('describe', 'web/web1')).toEqual(refusal);
    // That one does not know the request.
    expect(await headgate('get', 'services')).toEqual(refusal);
    expect(await headgate('status')).toEqual({ ...refusal, code: 3 });
  },
);

test('what goes wrong with a daemon of the same build is a defect', async () => {
  const [, build] = /^\/\/ (\w+)\n/.exec(readFileSync(bundle, 'latin1'))!;
  status = daemonOf(productVersion(), build);
  const { code, stderr } = await headgate('describe', 'web/web1');
  expect(code).toBe(70);
  expect(stderr).toContain('This is a defect in Headgate');
});
