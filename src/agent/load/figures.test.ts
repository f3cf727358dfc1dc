import { expect, test } from 'vitest';
import {
  countConnections,
  measure,
  type Reading,
  readLoadAverage,
  readMemory,
  readPressure,
  readStat,
} from './figures.ts';

// The texts are those of proc(5) and of Documentation/accounting/psi.rst.
const stat = (busy: number, idle: number, running = 1) =>
  `cpu  ${busy} 0 0 ${idle} 0 0 0 0 ${busy} 0\ncpu0 1 0 0 1 0 0 0 0 0 0\ncpu1 1 0 0 1 0 0 0 0 0 0\nintr 1 2\nprocs_running ${running}\n`;
const pressure = (total: number) =>
  `some avg10=1.00 avg60=0.00 avg300=0.00 total=${total}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=9\n`;

test('files of /proc are read, and what a kernel does not have is absent', () => {
  // What guests use (the ninth figure) is in user already.
  expect(readStat(stat(30, 70, 5))).toEqual({ processors: 2, running: 5, cpu: { all: 100, idle: 70 } });
  expect(readStat('')).toEqual({ processors: 1 });
  expect(readLoadAverage('2.55 1.43 0.82 3/412 9177\n')).toBe(2.55);
  expect(readPressure(pressure(18_132_872_261))).toBe(18_132_872_261);
  expect(readMemory('MemTotal:    1000 kB\nMemFree:    1 kB\nMemAvailable:     250 kB\n')).toEqual({
    ...{ total: 1_024_000, available: 256_000 },
  });
  expect([readLoadAverage(''), readPressure(''), readMemory('')]).toEqual([undefined, undefined, undefined]);
});

test('connections count that are established, at the local ports that are asked for', () => {
  const line = (n: number, local: number, remote: number, state: string) =>
    `   ${n}: 0100007F:${local.toString(16).toUpperCase().padStart(4, '0')} 0200007F:${remote.toString(16).toUpperCase().padStart(4, '0')} ${state} 00000000:00000000 00:00000000 00000000     0        0 1 1\n`;
  const text = `  sl  local_address rem_address   st\n${line(0, 80, 40_000, '01')}${line(1, 80, 40_001, '06')}${line(2, 40_002, 80, '01')}${line(3, 443, 1, '01')}${line(10, 80, 0, '0A')}`;
  expect(countConnections(text, new Set([80]))).toBe(1);
  expect(countConnections(text, new Set([80, 443]))).toBe(2);
  const six = `   0: 00000000000000000000000001000000:1F90 00000000000000000000000001000000:A0B4 01 0\n`;
  expect(countConnections(six, new Set([8080]))).toBe(1);
});

const reading = (atMs: number, rest: Partial<Reading> = {}): Reading => ({
  ...{ atMs, processors: 2, waited: {} },
  ...rest,
});

test('a share is of the time between two readings', () => {
  const before = reading(0, { cpu: { all: 1000, idle: 500 }, waited: { cpu: 0, memory: 0, io: 0 } });
  const at = (idle: number, waited: Reading['waited']) =>
    measure(before, reading(1000, { cpu: { all: 1200, idle: 500 + idle }, waited })).shares;
  expect(at(150, { cpu: 900_000, memory: 20_000 })).toEqual({ cpu: 0.25, memory: 0.02 });
  // All are busy: now waiting counts.
  expect(at(0, { cpu: 0, memory: 0 }).cpu).toBe(1);
  expect(at(0, { cpu: 500_000, memory: 0 }).cpu).toBe(1.5);
  expect(at(0, { cpu: 5_000_000, memory: 0 }).cpu).toBe(2);
});

test('without pressure figures tasks that want to run tell who waits', () => {
  const busy = (running: number) =>
    measure(reading(0, { cpu: { all: 0, idle: 0 } }), reading(1000, { cpu: { all: 200, idle: 0 }, running }))
      .shares.cpu;
  // Two processors, and one who reads this.
  expect([busy(3), busy(4), busy(5), busy(50)]).toEqual([1, 1.5, 2, 2]);
});

test('connections are a share of how many there may be; what nobody can measure is no share', () => {
  const now = reading(1000, { connections: 150, cpu: { all: 0, idle: 0 } });
  expect(measure(reading(0), now, { connections: 200 }).shares).toEqual({ connections: 0.75 });
  expect(measure(reading(0), now).shares).toEqual({});
});
