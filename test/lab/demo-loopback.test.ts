import { createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { openProxyPlane } from '../../src/dataplane/proxy/plane.ts';
import { demoOnLoopback, type LoopbackDirector } from '../../src/lab/demo-loopback.ts';
import { gather } from '../../src/model/connection-batches.ts';
import type { Operation } from '../../src/model/table.ts';

type Conduct = { isTTY?: boolean; onText?: (text: string, controller: AbortController) => void };

/** Runs it on a real proxy plane, whose operations `change` may alter on the way. */
async function run(
  { isTTY = false, onText = () => undefined }: Conduct = {},
  change: (operation: Operation) => Operation = (operation) => operation,
) {
  const controller = new AbortController();
  const plane = openProxyPlane();
  const director: LoopbackDirector = {
    apply: (operations) => plane.apply(operations.map(change)),
    read: plane.read,
    close: plane.close,
  };
  let text = '';
  const write = (more: string) => {
    text += more;
    onText(text, controller);
  };
  const options = { write, isTTY, signal: controller.signal, director, colour: false, columns: () => 100 };
  try {
    return { status: await demoOnLoopback(options), text, connections: await gather(plane.connections()) };
  } catch (error) {
    return { error, text };
  }
}

describe('The demonstration on loopback', () => {
  test('judges the split', async () => {
    const { status, text, connections } = await run({}, (operation) =>
      operation.kind === 'add-service'
        ? { ...operation, service: { ...operation.service, scheduler: 'rr' } }
        : operation,
    );
    expect(text).toMatch(/NOT as it should be:\n {2}127\.0\.0\.1:\d+: rs1 served 20, wrr gives it 30/);
    expect(status).toBe(1);
    expect(connections).toEqual([]);
  });

  test('fails when nobody serves', async () => {
    const { status, text } = await run({}, (operation) =>
      operation.kind === 'add-destination'
        ? { ...operation, destination: { ...operation.destination, weight: 0 } }
        : operation,
    );
    expect(text).toContain('60 of 60 connections failed (ECONNRESET)');
    expect(status).toBe(1);
  });

  test('paints on a terminal until it is told to end, and then listens no more', async () => {
    const { status, text } = await run({
      isTTY: true,
      onText: (text, controller) => {
        if (/weight 3 .* [1-9][\d.]*\/s .* \d+ %/.test(text)) controller.abort();
      },
    });
    expect(status).toBe(0);
    // Up over the picture, then clear to the end of the screen.
    expect(text.split('\x1b[J').length).toBeGreaterThan(1);
    const ports = [...text.matchAll(/curl -s http:\/\/127\.0\.0\.1:(\d+)\//g)].map(([, port]) => port);
    expect(ports).toHaveLength(2);
    for (const port of ports) {
      const server = createServer();
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject).listen(Number(port), '127.0.0.1', resolve);
      });
      server.close();
    }
  });

  test('ends at once where it is, when it is told to', async () => {
    const start = performance.now();
    const { status, text } = await run({
      onText: (text, controller) => {
        if (text.endsWith('virtual service\n')) setTimeout(() => controller.abort(), 200);
      },
    });
    expect(performance.now() - start).toBeLessThan(15_000);
    expect(text).toContain('Closed everything');
    expect(status).toBe(130);
  });

  test('says what the director refuses', async () => {
    const { error } = await run({}, (operation) =>
      operation.kind === 'add-destination'
        ? { ...operation, destination: { ...operation.destination, method: 'direct-routing' } }
        : operation,
    );
    expect(error).toMatchObject({
      code: 'HG_LAB_FAILED',
      message: expect.stringContaining('wanted masquerade'),
    });
  });
});
