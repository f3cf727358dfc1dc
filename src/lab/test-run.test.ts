import { describe, expect, it } from 'vitest';
import { whyWrong } from './test-run.ts';
import { tableEnd, tableRow } from './test-table.ts';
import { readAnswers, readLoad } from './test-traffic.ts';

it('reads the answers of curl in their order, and who did not give one', () => {
  // curl 7.88: the body, then what --write-out says; without a connection no body.
  expect(readAnswers('rs3\n0 200\nrs2\n0 200\n7 000\n<html>\nsorry\n0 503\n28 000\n')).toEqual([
    'rs3',
    'rs2',
    '(curl 7)',
    '(HTTP 503)',
    '(curl 28)',
  ]);
});

it("reads wrk's report", () => {
  // wrk 4.1.0, src/wrk.c: print_stats and what follows.
  const report = `Running 1s test @ http://10.0.0.1/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   196.13us  187.86us   5.24ms   95.37%
    Req/Sec    42.30k     2.52k   45.09k    70.00%
  46313 requests in 1.10s, 7.20MB read
`;
  expect(readLoad(`${report}Requests/sec:  42101.77\nTransfer/sec:      6.54MB\n`)).toEqual({
    requestsPerSecond: 42_101.77,
    errors: 0,
  });
  const errors = '  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n';
  expect(readLoad(`${report}${errors}Requests/sec:      7.00\n`).errors).toBe(15);
});

describe('a row is wrong', () => {
  it.each([
    [['a', 'b'], ['a', 'b'], undefined],
    [['a', 'b'], undefined, undefined],
    [['a', 'a'], ['a', 'b'], 'connection 2 went to a, the reference says b'],
    [['a'], undefined, '1 answers to 2 connections'],
    [['a', '(curl 7)'], ['a', 'b'], '1 of 2 connections had no answer (curl 7)'],
  ])('%j to %j: %s', (answers, expected, reason) => expect(whyWrong(answers, expected, 2)).toBe(reason));
});

it('is written as a line', () => {
  const row = { method: 'masquerade', offloads: 'on', scheduler: 'rr' } as const;
  const line = tableRow(
    {
      ...{ ...row, answers: ['a', 'b'], expected: ['a', 'c'], ok: false, reason: 'so' },
      ...{ load: { requestsPerSecond: 12.6, errors: 0 }, transfer: { seconds: 0.5, intact: true } },
    },
    100_000_000,
  );
  expect(line.split(/ {2,}/)).toEqual([
    ...['masquerade', 'on', 'rr', '1 of 2 as told', '13/s, 0 errors', '100.0 MB at 200.0 MB/s'],
    'FAILED: so',
  ]);
  expect(
    tableEnd(
      [
        { ...row, ok: true },
        { ...row, ok: false },
      ],
      ['wrk'],
    ),
  ).toEqual(['Without wrk: install it for the load.', '1 of 2 rows FAILED.']);
});
