import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Event, eventText, type NewEvent } from '../model/event.ts';
import { appendEvent, eventFileBytes, openEventLog, readEvents } from './events.ts';

let directory: string;
let failures: string[];
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'headgate-events-'));
  failures = [];
});
afterEach(() => rmSync(directory, { recursive: true }));

const at = new Date(0);
const failed = (reason: string) => void failures.push(reason);
const attached = (name: string): NewEvent => ({
  ...{ kind: 'interface-attached', what: `takes packets of ${name}` },
  interface: name,
});
const open = (where: string | undefined = directory) => openEventLog(where, { now: () => at, failed });
const append = (name: string) => appendEvent(directory, attached(name), { now: at, failed });
const path = () => join(directory, 'events.jsonl');
const idsOf = (events: readonly Event[]) => events.map(({ id }) => id);

describe('the log of events', () => {
  test('counts on, whoever writes', () => {
    append('eth0');
    const log = open();
    log.note(attached('eth1'));
    append('eth2');
    open().note(attached('eth3'));
    expect(readEvents(directory)).toEqual(
      ['eth0', 'eth1', 'eth2', 'eth3'].map((name, index) => ({
        ...attached(name),
        ...{ id: index + 1, at: '1970-01-01T00:00:00.000Z' },
      })),
    );
    expect(statSync(path()).mode & 0o777).toBe(0o600);
    expect(failures).toEqual([]);
  });

  test('a line that is cut off is no event, and the next one is not harmed by it', () => {
    for (const name of ['eth0', 'eth1']) append(name);
    const whole = readFileSync(path());
    for (let length = whole.length - 1; length > whole.indexOf('\n'); length--) {
      writeFileSync(path(), whole.subarray(0, length));
      // Only the line's end is missing.
      const left = length === whole.length - 1 ? [1, 2] : [1];
      expect(idsOf(readEvents(directory))).toEqual(left);
      append('eth2');
      expect(idsOf(readEvents(directory))).toEqual([...left, left.length + 1]);
      expect(readEvents(directory).at(-1)).toMatchObject({ interface: 'eth2' });
    }
  });

  test('is not stopped by what is no event', () => {
    append('eth0');
    appendFileSync(path(), 'nonsense\n{}\n[]\nnull\n7\n{"id":"9"}\n\0\0\0\0');
    append('eth1');
    expect(idsOf(readEvents(directory))).toEqual([1, 2]);
    expect(idsOf(open().after(0))).toEqual([1, 2]);
  });

  test('is two files of a MiB, in memory as on the disk', () => {
    const log = open();
    const inMemory = openEventLog(undefined, { now: () => at, failed });
    const long = 'x'.repeat(1900);
    for (let count = 0; count < 1600; count++) for (const one of [log, inMemory]) one.note(attached(long));
    const kept = readEvents(directory);
    expect(idsOf(kept)).toEqual(
      Array.from({ length: kept.length }, (_one, index) => 1601 - kept.length + index),
    );
    expect(log.after(0)).toEqual(kept);
    expect(open().after(0)).toEqual(kept);
    expect([log.oldest(), log.newest()]).toEqual([kept[0]!.id, 1600]);
    expect(inMemory.after(0)).toEqual(kept);
    for (const name of ['events.jsonl', 'events.1.jsonl'])
      expect(statSync(join(directory, name)).size).toBeLessThanOrEqual(eventFileBytes);
    // A command that comes just after the file was turned over counts on.
    rmSync(path());
    append('eth0');
    expect(readEvents(directory).at(-1)!.id).toBeGreaterThan(kept[0]!.id);
  });

  test('gives what came after a number, and all where the number was never given', () => {
    const log = open();
    for (const name of ['eth0', 'eth1', 'eth2']) log.note(attached(name));
    expect([0, 1, 3, 9].map((id) => idsOf(log.after(id)))).toEqual([[1, 2, 3], [2, 3], [], [1, 2, 3]]);
  });

  test('tells whoever asked to be told, until they no longer do', () => {
    const log = open();
    let told = 0;
    const end = log.subscribe(() => {
      told++;
    });
    log.note(attached('eth0'));
    end();
    log.note(attached('eth1'));
    expect(told).toBe(1);
  });

  test('that cannot be written says so once, and has it in memory', () => {
    writeFileSync(join(directory, 'file'), '');
    const log = open(join(directory, 'file'));
    for (const name of ['eth0', 'eth1']) log.note(attached(name));
    expect(idsOf(log.after(0))).toEqual([1, 2]);
    expect(failures).toEqual([expect.stringMatching(/EEXIST|ENOTDIR/)]);
    appendEvent(join(directory, 'file'), attached('eth2'), { now: at, failed });
    expect(failures).toHaveLength(2);
  });

  test('cuts off a text that is too long', () => {
    append('y'.repeat(5000));
    expect(JSON.stringify(readEvents(directory)[0]).length).toBeLessThan(4500);
  });
});

test('a change of several rules has a line for each', () => {
  const change = { kind: 'runtime-change', by: 'ipvsadm', refused: 0, id: 3, at: at.toISOString() } as const;
  expect(eventText({ ...change, what: 'ipvsadm: 22 operations', operations: ['- a', '+ b'], more: 20 })).toBe(
    '1970-01-01T00:00:00.000Z  runtime-change  ipvsadm: 22 operations\n  - a\n  + b\n  and 20 more\n',
  );
});
