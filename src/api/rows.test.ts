import { createServer, type IncomingMessage, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { receiveRows, sendRows } from './rows.ts';

type Row = { readonly n: number; readonly text: string };

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** The answer of a server that sends these batches. */
async function answer(batches: () => AsyncIterable<readonly Row[]>): Promise<IncomingMessage> {
  const server = createServer((_request, response) => {
    sendRows(response, 'rows', batches()).catch((error) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(409).end(String(error));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => server.close());
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve, reject) => {
    request({ host: '127.0.0.1', port, agent: false }, resolve).on('error', reject).end();
  });
}

async function* batches(count: number, size: number): AsyncGenerator<Row[]> {
  for (let batch = 0; batch < count; batch++)
    yield Array.from({ length: size }, (_, i) => ({ n: batch * size + i, text: 'a\n]}\n"б' }));
}

async function* failing(before: AsyncIterable<Row[]> = batches(0, 0)): AsyncGenerator<Row[]> {
  yield* before;
  throw new Error('no table');
}

async function rowsOf(response: IncomingMessage): Promise<Row[]> {
  const rows: Row[] = [];
  for await (const some of receiveRows<Row>(response)) rows.push(...some);
  return rows;
}

describe('a list in batches', () => {
  test.each([
    [0, 0],
    [1, 1],
    [3, 1],
    [50, 2000],
  ])('of %d with %d rows each comes as it was, in order', async (count, size) => {
    const rows = await rowsOf(await answer(() => batches(count, size)));
    expect(rows.map(({ n }) => n)).toEqual([...Array(count * size).keys()]);
    expect(new Set(rows.map(({ text }) => text)).size).toBe(Math.min(1, rows.length));
  });

  test('is one JSON document', async () => {
    for (const count of [0, 2]) {
      let text = '';
      for await (const chunk of (await answer(() => batches(count, 3))).setEncoding('utf8')) text += chunk;
      expect(JSON.parse(text).rows).toHaveLength(count * 3);
    }
  });

  test('is not gone through faster than it is read', async () => {
    let made = 0;
    const response = await answer(async function* () {
      for await (const batch of batches(300, 2000)) {
        made++;
        yield batch;
      }
    });
    // Nobody reads: what the sockets hold is all there is.
    let before = -1;
    await expect
      .poll(() => {
        const rests = made === before;
        before = made;
        return rests;
      })
      .toBe(true);
    expect(made).toBeLessThan(300);
    expect(await rowsOf(response)).toHaveLength(600_000);
  });

  test('ends for who went away', async () => {
    let isOver = false;
    const response = await answer(async function* () {
      try {
        yield* batches(100_000, 2000);
      } finally {
        isOver = true;
      }
    });
    response.destroy();
    await expect.poll(() => isOver).toBe(true);
  });

  test('that fails at once is an error with a status of its own', async () => {
    const response = await answer(() => failing());
    expect(response.statusCode).toBe(409);
  });

  test('that fails half-way is no whole list', async () => {
    // Its head may have been sent or not.
    const read = async () => rowsOf(await answer(() => failing(batches(2, 10))));
    await expect(read()).rejects.toThrow(/hang up|aborted/);
  });

  test.each(['', '{}', '{"connections":[]}', '{"rows":[\n{"n":1},\n', 'nonsense\nand more\n]}\n'])(
    'is not %j',
    async (text) => {
      const server = createServer((_request, response) => response.end(text));
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      closers.push(() => server.close());
      const { port } = server.address() as AddressInfo;
      const response = await new Promise<IncomingMessage>((resolve) =>
        request({ host: '127.0.0.1', port, agent: false }, resolve).end(),
      );
      await expect(rowsOf(response)).rejects.toThrow(SyntaxError);
    },
  );
});
