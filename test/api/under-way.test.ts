import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { type Served, serveApi } from '../../src/api/server.ts';
import { HeadgateError } from '../../src/model/errors.ts';

/* Answers that take long: RFC 2518, section 10.1, and RFC 9110, section 15.2. */

let folder: string;
let path: string;
let server: Awaited<ReturnType<typeof serveApi>>;
let end: (value: object) => void;
let fail: (error: unknown) => void;
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'headgate-under-way-'));
  path = join(folder, 'control.sock');
  const ended = new Promise<object>((resolve, reject) => {
    [end, fail] = [resolve, reject];
  });
  server = await serveApi(path, { migrate: () => ended } as Partial<Served> as Served, { everyMs: 5 });
});
afterEach(async () => {
  await server.close();
  rmSync(folder, { recursive: true });
});

/** What is heard of a request: informational answers as they come, and the final one. */
function ask() {
  const heard: number[] = [];
  const outgoing = request({ socketPath: path, method: 'POST', path: '/v1/migrate', agent: false });
  outgoing.on('information', ({ statusCode }) => heard.push(statusCode));
  const answered = new Promise<string>((resolve, reject) => {
    outgoing.on('error', reject);
    outgoing.on('response', async (response) => {
      let text = `${response.statusCode} `;
      for await (const chunk of response) text += String(chunk);
      resolve(text);
    });
  });
  outgoing.end('{"move":"ebpf-to-ipvs"}');
  return { heard, answered };
}

it('whoever waits hears that the answer is being made, and then the answer', async () => {
  const { heard, answered } = ask();
  await expect.poll(() => heard.length).toBeGreaterThan(3);
  expect(new Set(heard)).toEqual(new Set([102]));
  end({ done: true });
  expect(await answered).toBe('200 {"done":true}\n');
});

it('or what went wrong', async () => {
  const { heard, answered } = ask();
  await expect.poll(() => heard.length).toBeGreaterThan(0);
  fail(new HeadgateError('HG_MOVE', 'Cannot move: no'));
  expect(await answered).toMatch(/^409 .*"HG_MOVE"/);
});

it('who speaks HTTP/1.0 hears the answer alone', async () => {
  const { heard, answered } = ask();
  const old = connect(path);
  let said = '';
  old.on('data', (chunk) => {
    said += String(chunk);
  });
  const words = '{"move":"ebpf-to-ipvs"}';
  old.write(`POST /v1/migrate HTTP/1.0\r\ncontent-length: ${words.length}\r\n\r\n${words}`);
  // The other one, who asked before, shows that time has passed for both.
  await expect.poll(() => heard.length).toBeGreaterThan(20);
  end({ done: true });
  await Promise.all([answered, once(old, 'end')]);
  expect(said).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
});
