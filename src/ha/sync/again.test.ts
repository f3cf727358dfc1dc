import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { statementAmongMessages } from '../peers/statement.ts';
import { type AgainMessage, decodeAgain, encodeAgain, mostSpans, spansOf } from './again.ts';
import { openGaps } from './gaps.ts';
import { decodeMessage, encodeEnd, encodeMessage, isEnd } from './message.ts';
import { openRepair } from './repair.ts';
import { replayWindow } from './wire.ts';

const session = 'sixteen bytes of';

describe('what is said of lost messages', () => {
  const messages: AgainMessage[] = [
    { kind: 'number' },
    { kind: 'lost', session, spans: [{ first: 2 ** 40, count: 3 }] },
    { kind: 'lost', session: '\xff'.repeat(16), spans: Array(mostSpans).fill({ first: 1, count: 1 }) },
    { kind: 'told-again', spans: [{ first: 7, count: 1 }] },
  ];

  it.each(messages)('$kind is what is read, and nothing to who does not know it', (message) => {
    const bytes = encodeAgain(9, message);
    expect(decodeAgain(bytes)).toEqual(message);
    expect(decodeMessage(bytes)).toEqual({ version: 0, id: 9, connections: [], refused: [] });
    expect([isEnd(bytes), statementAmongMessages(bytes)]).toEqual([false, undefined]);
  });

  it('is told from everything else', () => {
    expect(decodeAgain(encodeMessage(9, []))).toBeUndefined();
    expect(decodeAgain(encodeEnd(9, 1))).toBeUndefined();
    fc.assert(
      fc.property(
        fc.constantFrom(...messages),
        fc.nat(60),
        fc.nat(255),
        fc.nat(60),
        (message, at, byte, end) => {
          const bytes = encodeAgain(9, message);
          if (at < bytes.length) bytes[at] = byte;
          const read = decodeAgain(bytes.subarray(0, end));
          if (read && end < bytes.length) throw new Error(`read ${JSON.stringify(read)} from a part`);
        },
      ),
    );
  });

  it('numbers are written as spans', () => {
    expect(spansOf([5, 3, 4, 9])).toEqual([
      { first: 3, count: 3 },
      { first: 9, count: 1 },
    ]);
  });
});

/**
 * One message a millisecond, each about one place of the table, by a link that loses what `loses` says of each datagram in
 * either direction, then nothing more for ten seconds, in the last five of which nothing is lost.
 */
function simulate(total: number, losesOf: (datagram: number) => boolean, answers = true) {
  const gaps = openGaps();
  const known = new Set<number>();
  let [nowMs, number, carried, wholes] = [0, 0, 0, 0];
  const loses = (datagram: number) => nowMs < total + 5000 && losesOf(datagram);
  const send = (places: readonly number[], said?: AgainMessage) => {
    number++;
    repair.sent(number, places, nowMs);
    carried++;
    if (loses(carried)) return;
    gaps.heard({ session, number }, nowMs);
    if (said?.kind === 'told-again') gaps.answered(session, said.spans);
    for (const place of places) known.add(place);
  };
  const repair = openRepair(
    (places) => send(places),
    (message) => send([], message),
  );
  for (; nowMs < total + 10_000; nowMs++) {
    if (nowMs < total) send([nowMs]);
    repair.turn(nowMs);
    for (const { spans } of gaps.due(nowMs)) {
      carried++;
      if (!loses(carried) && answers) repair.lost(spans);
    }
    if (gaps.beyond()) wholes++;
  }
  return { known: known.size, carried, wholes, ...gaps.counts() };
}

describe('messages that are lost', () => {
  it('are told again, whichever they are, and without a storm', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30 }), fc.integer(), (percent, seed) => {
        let state = seed | 1;
        const loses = () => {
          state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
          return (state >>> 8) % 100 < percent;
        };
        const { known, carried, wholes, missing } = simulate(1000, loses);
        // What is said of a number at rest, once a second, is a datagram too.
        if (wholes === 0) expect({ known, missing }).toEqual({ known: 1000, missing: 0 });
        expect(carried).toBeLessThan(3000);
      }),
      { numRuns: 200 },
    );
  });

  it('also the last one, and the first ones of a session', () => {
    expect(simulate(100, (datagram) => datagram === 100)).toMatchObject({
      known: 100,
      missed: 1,
      missing: 0,
    });
    expect(simulate(100, (datagram) => datagram <= 10)).toMatchObject({ known: 100, missed: 10, missing: 0 });
  });

  it('are not asked for when nothing is lost, nor when they come late', () => {
    // Beside the messages: ten seconds at rest.
    expect(simulate(1000, () => false)).toMatchObject({ known: 1000, missed: 0, wholes: 0 });
    const gaps = openGaps();
    for (const number of [1, 3, 2, 4]) gaps.heard({ session, number }, 0);
    expect([gaps.due(1000), gaps.counts()]).toEqual([[], { missed: 0, missing: 0 }]);
  });

  it('by a sender that does not answer, or too many: the whole table is asked for', () => {
    const { missed, missing, wholes, carried } = simulate(1000, (datagram) => datagram === 500, false);
    expect({ missed, missing, wholes }).toEqual({ missed: 1, missing: 0, wholes: 1 });
    expect(carried).toBeLessThan(1040);
    const gaps = openGaps();
    gaps.heard({ session, number: 1 }, 0);
    gaps.heard({ session, number: replayWindow + 3 }, 0);
    expect([gaps.due(1000), gaps.beyond(), gaps.beyond()]).toEqual([[], true, false]);
  });

  it('before who listens has come are none of its business', () => {
    const gaps = openGaps();
    gaps.heard({ session, number: 5000 }, 0);
    gaps.heard({ session, number: 5002 }, 0);
    expect(gaps.due(1000)).toEqual([{ session, spans: [{ first: 5001, count: 1 }] }]);
    expect(gaps.beyond()).toBe(false);
  });

  it('and are not remembered any more, the sender says so', () => {
    const repair = openRepair(
      () => undefined,
      () => undefined,
    );
    for (let number = 1; number <= 5000; number++) repair.sent(number, [number], 0);
    expect(repair.lost([{ first: 4999, count: 2 }])).toBe(true);
    expect(repair.lost([{ first: 1, count: 1 }])).toBe(false);
    expect(repair.lost([{ first: 5001, count: 2 ** 32 - 1 }])).toBe(false);
  });
});
