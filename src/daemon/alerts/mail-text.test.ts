import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { Event } from '../../model/event.ts';
import { mailText } from './mail-text.ts';

const context = { host: 'director.example.org', now: new Date(0), id: 'x' };
const people = { from: 'headgate@example.org', to: ['a@example.org', 'b@example.org'] };
const told = (what: string): string =>
  mailText(
    {
      events: [{ id: 1, at: '1970-01-01T00:00:00.000Z', kind: 'daemon-stopped', what, pid: 1 } as Event],
      more: 0,
    },
    people,
    context,
  );

test('a mail as RFC 5322 has it', () => {
  expect(told('web is down')).toBe(
    [
      'Date: Thu, 01 Jan 1970 00:00:00 +0000',
      'From: Headgate <headgate@example.org>',
      'To: a@example.org,',
      ' b@example.org',
      'Subject: [headgate director.example.org] web is down',
      'Message-ID: <x@director.example.org>',
      'Auto-Submitted: auto-generated',
      'MIME-Version: 1.0',
      'Content-Type: text/plain; charset=utf-8',
      'Content-Transfer-Encoding: 7bit',
      '',
      '1970-01-01T00:00:00.000Z  daemon-stopped  web is down',
      '',
      'Told by Headgate on director.example.org.',
      '',
    ].join('\r\n'),
  );
});

test('nothing an event says adds a header, or a line that is too long', () => {
  const names =
    /^(?:Date|From|To|Subject|Message-ID|Auto-Submitted|MIME-Version|Content-Type|Content-Transfer-Encoding): /;
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 3000 }),
        fc.constantFrom('a\r\nBcc: x@example.org\r\n\r\nb', 'ä'.repeat(900), '.\r\n'),
      ),
      (what) => {
        const text = told(what);
        const [header = '', ...rest] = text.split('\r\n\r\n');
        const lines = header.split('\r\n').filter((line) => !line.startsWith(' '));
        expect(lines).toHaveLength(9);
        for (const line of lines) expect(line).toMatch(names);
        for (const line of text.split('\r\n')) expect(Buffer.byteLength(line)).toBeLessThanOrEqual(998);
        expect(text).toMatch(/^[\r\n\x20-\x7e]*$/);
        expect(header).not.toMatch(/(?<!\r)\n|\r(?!\n)/);
        const body = rest.join('\r\n\r\n');
        const whole = /Encoding: base64/.test(header) ? Buffer.from(body, 'base64').toString() : body;
        expect(whole).toContain('Told by Headgate on');
      },
    ),
  );
});
