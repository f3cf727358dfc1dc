import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  alertKinds,
  type Downs,
  dueDowns,
  freshPace,
  isWanted,
  type Message,
  messageText,
  messageTitle,
  nextDownMs,
  nextReleaseMs,
  noteDowns,
  type PaceLimits,
  paceEvent,
  releasePace,
} from './alert.ts';
import type { Event } from './event.ts';

function down(id: number, service = 'web', realServer = `web${id}`): Event {
  const what = `${service}/${realServer} is down: connection refused`;
  const at = new Date(id * 1000).toISOString();
  return { id, at, kind: 'real-server-down', what, service, realServer, reason: 'connection refused' };
}
const up = (id: number, service: string, realServer: string): Event =>
  ({ ...down(id, service, realServer), kind: 'real-server-up' }) as Event;

describe('who is told', () => {
  const lost: Event = {
    id: 1,
    at: '',
    kind: 'quorum-lost',
    what: '',
    service: 'dns (udp 192.0.2.10:53)',
    quorum: 1,
  };
  const stopped: Event = { id: 2, at: '', kind: 'daemon-stopped', what: '', pid: 1 };
  test.each([
    [down(1), {}, true],
    [down(1), { services: ['web'] }, true],
    [down(1), { services: ['mail'] }, false],
    [down(1), { on: ['quorum-lost'] as const }, false],
    [lost, { services: ['dns'] }, true],
    [stopped, { on: ['daemon-stopped'] as const }, true],
    [stopped, { on: ['daemon-stopped'] as const, services: ['web'] }, false],
  ])('case %#', (event, filter, wanted) => {
    expect(isWanted(event, { on: alertKinds, ...filter })).toBe(wanted);
  });
});

describe('the pace', () => {
  const limits: PaceLimits = { messages: 2, withinMs: 1000, listed: 3 };

  test('each event is a message, until too many were; the rest is one message when its time has come', () => {
    const sent: [number, number[], number][] = [];
    let pace = freshPace;
    const keep = (nowMs: number, paced: { pace: typeof pace; message?: Message }) => {
      pace = paced.pace;
      if (paced.message) sent.push([nowMs, paced.message.events.map(({ id }) => id), paced.message.more]);
    };
    for (const [nowMs, id] of [
      [0, 1],
      [10, 2],
      [20, 3],
      [30, 4],
      [40, 5],
      [50, 6],
      [60, 7],
    ] as const)
      keep(nowMs, paceEvent(pace, down(id), nowMs, limits));
    expect(nextReleaseMs(pace, limits)).toBe(1000);
    keep(999, releasePace(pace, 999, limits));
    keep(1000, releasePace(pace, 1000, limits));
    expect(sent).toEqual([
      [0, [1], 0],
      [10, [2], 0],
      [1000, [3, 4, 5], 2],
    ]);
    expect(nextReleaseMs(pace, limits)).toBeUndefined();
  });

  test('every event is told or counted once, never more messages than allowed', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(400), { maxLength: 60 }), (gaps) => {
        let [pace, nowMs, told] = [freshPace, 0, 0];
        const times: number[] = [];
        const keep = (paced: { pace: typeof pace; message?: Message }) => {
          pace = paced.pace;
          if (!paced.message) return;
          told += paced.message.events.length + paced.message.more;
          times.push(nowMs);
        };
        for (const [i, gap] of gaps.entries()) {
          const next = nextReleaseMs(pace, limits);
          if (next !== undefined && next <= nowMs + gap) {
            nowMs = Math.max(nowMs, next);
            keep(releasePace(pace, nowMs, limits));
          }
          nowMs += gap;
          keep(paceEvent(pace, down(i), nowMs, limits));
        }
        expect(told + pace.held.length + pace.more).toBe(gaps.length);
        for (const [i, time] of times.entries())
          if (i >= limits.messages)
            expect(time - times[i - limits.messages]!).toBeGreaterThanOrEqual(limits.withinMs);
        const next = nextReleaseMs(pace, limits);
        if (next !== undefined) expect(releasePace(pace, next, limits).message).toBeDefined();
      }),
    );
  });
});

test('a real server that stays down is told of again, until it is up or gone', () => {
  const downs: Downs = new Map();
  const note = (event: Event, nowMs: number) => {
    noteDowns(downs, event, nowMs, 100);
  };
  const due = (nowMs: number, isKnown = true) =>
    dueDowns(downs, nowMs, 100, () => isKnown).map(({ id }) => id);
  note(down(1), 0);
  note(down(2), 50);
  expect([due(99), due(100), due(150), due(200)]).toEqual([[], [1], [2], [1]]);
  note(up(3, 'web', 'web1'), 210);
  expect([due(250), due(300)]).toEqual([[2], []]);
  expect([due(350, false), due(1000)]).toEqual([[], []]);
  expect(nextDownMs(downs)).toBeUndefined();
  noteDowns(downs, down(1), 0, 0);
  expect(downs.size).toBe(0);
});

test('a message in words', () => {
  const one: Message = { events: [down(1)], more: 0 };
  expect(messageTitle(one)).toBe('web/web1 is down: connection refused');
  expect(messageTitle({ ...one, isRepeated: true })).toBe('still: web/web1 is down: connection refused');
  const many: Message = { events: [down(1), down(2)], more: 3 };
  expect(messageTitle(many)).toBe('web/web1 is down: connection refused, and 4 more');
  expect(
    messageText(many),
  ).toBe(`1970-01-01T00:00:01.000Z  real-server-down  web/web1 is down: connection refused
1970-01-01T00:00:02.000Z  real-server-down  web/web2 is down: connection refused
and 3 more
`);
});
