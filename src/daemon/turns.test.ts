import { expect, test } from 'vitest';
import { batchInTurn, openTurns } from './turns.ts';

test('between two batches others have their turn, and who stops reading ends the reading', async () => {
  const { inTurn } = openTurns();
  const done: string[] = [];
  async function* table() {
    try {
      for (const name of ['first', 'second', 'third']) {
        done.push(name);
        yield name;
      }
    } finally {
      done.push('over');
    }
  }
  for await (const batch of batchInTurn(table(), inTurn)) {
    if (batch === 'second') break;
    await inTurn(async () => {
      done.push('a change');
    });
  }
  expect(done).toEqual(['first', 'a change', 'second', 'over']);
});

test('an error comes to who reads, and the next turn is had', async () => {
  const { inTurn } = openTurns();
  async function* table(): AsyncGenerator<number> {
    yield 1;
    throw new Error('gone');
  }
  const read = async () => {
    for await (const _ of batchInTurn(table(), inTurn));
  };
  await expect(read()).rejects.toThrow('gone');
  expect(await inTurn(async () => 2)).toBe(2);
});
