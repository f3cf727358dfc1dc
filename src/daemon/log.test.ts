import { expect, test } from 'vitest';
import { isJournal, type LogForm, lineLog } from './log.ts';

function linesOf(options: { form?: LogForm; journal?: boolean }): string[] {
  const lines: string[] = [];
  const log = lineLog(
    (text) => lines.push(text),
    () => new Date('2026-01-02T03:04:05.678Z'),
    options,
  );
  log('info', 'running', { file: '/etc/headgate/headgate.yaml', generation: 3 });
  log('error', 'not in force', { reason: 'two words\nand a line' });
  return lines;
}

test('text: the time, the level, what happened, and values that a shell could split', () => {
  expect(linesOf({})).toEqual([
    '2026-01-02T03:04:05.678Z info running file=/etc/headgate/headgate.yaml generation=3\n',
    '2026-01-02T03:04:05.678Z error not in force reason="two words\\nand a line"\n',
  ]);
});

test('json: one object a line', () => {
  expect(linesOf({ form: 'json' }).map((line) => JSON.parse(line))).toEqual([
    {
      time: '2026-01-02T03:04:05.678Z',
      level: 'info',
      message: 'running',
      file: '/etc/headgate/headgate.yaml',
      generation: 3,
    },
    {
      time: '2026-01-02T03:04:05.678Z',
      level: 'error',
      message: 'not in force',
      reason: 'two words\nand a line',
    },
  ]);
});

// sd-daemon(3): SD_ERR "<3>", SD_INFO "<6>".
test('the journal gets priorities, and no second time', () => {
  expect(linesOf({ journal: true })).toEqual([
    '<6>info running file=/etc/headgate/headgate.yaml generation=3\n',
    '<3>error not in force reason="two words\\nand a line"\n',
  ]);
  expect(linesOf({ form: 'json', journal: true }).map((line) => line.slice(0, 11))).toEqual([
    '<6>{"time":',
    '<3>{"time":',
  ]);
});

test.each([
  [undefined, false],
  ['8:15', false],
  ['9:15', true],
])('JOURNAL_STREAM %s', (stream, journal) => {
  expect(isJournal({ ...(stream !== undefined && { JOURNAL_STREAM: stream }) }, { dev: 9, ino: 15 })).toBe(
    journal,
  );
});
