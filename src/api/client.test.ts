import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openRemote } from './client.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-client-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

it('each request has a connection of its own: one that is kept may be closed while a command works', async () => {
  const path = join(folder, 'control.sock');
  let connections = 0;
  const server = createServer((_request, response) => response.end('{}'))
    .on('connection', () => connections++)
    .listen(path);
  try {
    const daemon = (await openRemote(path))!;
    await daemon.checks();
    await daemon.follow(0, () => undefined).catch(() => undefined);
    await daemon.checks();
    expect(connections).toBe(4);
  } finally {
    await new Promise((done) => server.close(done));
  }
});
