import { expect, test } from 'vitest';
import { openOutbox } from './outbox.ts';

/** A socket with room for so many messages. */
function socket() {
  const sent: string[] = [];
  const state = { room: 0, broken: false };
  const sender = {
    send(datagram: Uint8Array) {
      if (state.broken) throw new Error('ENETDOWN');
      if (state.room === 0) return false;
      state.room--;
      sent.push(Buffer.from(datagram).toString());
      return true;
    },
  };
  return { sent, state, sender };
}
const send = (outbox: ReturnType<typeof openOutbox>, ...texts: string[]) =>
  texts.map((text) => outbox.send(Buffer.from(text)));

test('what the socket does not take waits, goes out in order, and not before what waits', () => {
  const { sent, state, sender } = socket();
  const outbox = openOutbox(sender);
  outbox.hold(3);
  state.room = 1;
  expect(send(outbox, 'a', 'b', 'c')).toEqual([true, true, true]);
  expect([sent.join(''), outbox.waiting()]).toEqual(['a', 2]);
  state.room = 1;
  expect(send(outbox, 'd')).toEqual([true]);
  expect([sent.join(''), outbox.waiting()]).toEqual(['ab', 2]);
  state.room = 9;
  outbox.flush();
  expect([sent.join(''), outbox.waiting()]).toEqual(['abcd', 0]);
});

test('no more wait than may; what is over is dropped, as IPVS drops it', () => {
  const { sent, state, sender } = socket();
  const outbox = openOutbox(sender);
  expect(send(outbox, 'a')).toEqual([false]);
  outbox.hold(2);
  expect(send(outbox, 'b', 'c', 'd')).toEqual([true, true, false]);
  outbox.hold(1);
  expect([outbox.waiting(), ...send(outbox, 'e')]).toEqual([2, false]);
  state.room = 9;
  expect(send(outbox, 'f')).toEqual([true]);
  expect(sent.join('')).toBe('bcf');
});

test('a message that cannot be sent at all is dropped, and the others go on', () => {
  const { sent, state, sender } = socket();
  const outbox = openOutbox(sender);
  outbox.hold(9);
  send(outbox, 'a', 'b');
  Object.assign(state, { room: 9, broken: true });
  expect(() => outbox.flush()).toThrow('ENETDOWN');
  state.broken = false;
  outbox.flush();
  expect([sent.join(''), outbox.waiting()]).toEqual(['b', 0]);
});
