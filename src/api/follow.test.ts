import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Message, parseStream } from './follow.ts';

/** The messages of a stream that comes in these pieces. */
function messagesOf(...pieces: string[]): Message[] {
  const messages: Message[] = [];
  const feed = parseStream((message) => messages.push(message));
  for (const piece of pieces) feed(piece);
  return messages;
}

/** The examples of WHATWG HTML 9.2.6, with what it says of them. */
describe('the examples of the specification', () => {
  it('lines of data are one message', () => {
    expect(messagesOf('data: YHOO\ndata: +2\ndata: 10\n\n')).toEqual([
      { name: 'message', data: 'YHOO\n+2\n10', id: '' },
    ]);
  });

  it('a comment is none; an id holds until another comes; what is not ended by an empty line is not given', () => {
    const stream =
      ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n';
    expect(messagesOf(stream)).toEqual([
      { name: 'message', data: 'first event', id: '1' },
      { name: 'message', data: 'second event', id: '' },
    ]);
    expect(messagesOf(`${stream}\n`)[2]).toEqual({ name: 'message', data: ' third event', id: '' });
  });

  it('a field without a colon has an empty value', () => {
    expect(messagesOf('data\n\ndata\ndata\n\ndata:').map(({ data }) => data)).toEqual(['', '\n']);
  });

  it('a space after the colon does not count', () => {
    expect(messagesOf('data:test\n\ndata: test\n\n').map(({ data }) => data)).toEqual(['test', 'test']);
  });

  it('events have names', () => {
    expect(messagesOf('event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\ndata: 1\n\n')).toEqual([
      { name: 'add', data: '73857293', id: '' },
      { name: 'remove', data: '2153', id: '' },
      { name: 'message', data: '1', id: '' },
    ]);
  });
});

it('lines end with LF, CR or CRLF, wherever the pieces are cut', () => {
  const stream = 'id: 7\revent: a\r\ndata: one\ndata: two\r\r\ndata: three\r\n\r\nid: 8\ndata: four\n\n';
  const whole = messagesOf(stream);
  expect(whole.map(({ data }) => data)).toEqual(['one\ntwo', 'three', 'four']);
  fc.assert(
    fc.property(fc.array(fc.nat({ max: stream.length })), (cuts) => {
      const places = [0, ...cuts.sort((a, b) => a - b), stream.length];
      const pieces = places.slice(1).map((place, index) => stream.slice(places[index], place));
      expect(messagesOf(...pieces)).toEqual(whole);
    }),
  );
});
