import fc from 'fast-check';
import { expect, test } from 'vitest';
import { append, newInbox, positionOf, take, waiting } from './inbox.ts';

test('what is taken is what was appended, however it is cut', () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant('append' as const), bytes: fc.uint8Array({ maxLength: 3_000 }) }),
    fc.record({ kind: fc.constant('take' as const), count: fc.nat(3_000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const inbox = newInbox();
      let model = Buffer.alloc(0);
      for (const one of steps) {
        if (one.kind === 'append') {
          append(inbox, one.bytes);
          model = Buffer.concat([model, one.bytes]);
        } else {
          const count = Math.min(one.count, waiting(inbox));
          expect(take(inbox, count).equals(model.subarray(0, count))).toBe(true);
          model = model.subarray(count);
        }
        expect(waiting(inbox)).toBe(model.length);
        expect(positionOf(inbox, Buffer.from([0]))).toBe(model.indexOf(0));
      }
    }),
  );
});

test('a million single bytes are appended in no time', () => {
  const inbox = newInbox();
  const began = performance.now();
  for (let count = 0; count < 1_000_000; count++) append(inbox, Buffer.of(count & 255));
  expect(waiting(inbox)).toBe(1_000_000);
  expect(performance.now() - began).toBeLessThan(5_000);
});
