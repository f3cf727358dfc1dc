import { afterAll, beforeAll, expect, it } from 'vitest';
import { type Lab, up } from '../../src/lab/build.ts';
import { requires } from '../requirements.ts';
import { labName, launcher, smallTable } from './site.ts';

/*
 * The aims are 150 ms a call and 2 s for 10,000 rules on a quiet machine; these tests print what they measured and fail
 * only on what no load explains.
 */
const saneCallMs = 3000;
const saneRestoreMs = 20_000;

requires(
  'root',
  'netns',
  'bpf',
)('speed', () => {
  let lab: Lab;
  beforeAll(() => {
    lab = up({
      name: labName('speed'),
      nodes: [{ name: 'director', loopback: ['192.0.2.1/32'] }, { name: 'fresh' }],
      segments: [],
    });
  });
  afterAll(() => lab?.down());

  /** Milliseconds of one call, Node's start included. */
  const timed = (node: string, words: readonly string[], input?: string): number => {
    const start = performance.now();
    const run = lab.run(node, process.execPath, [launcher, ...words], {
      env: smallTable,
      timeoutMs: 60_000,
      ...(input !== undefined && { input }),
    });
    const elapsed = performance.now() - start;
    expect(run.stderr).toBe('');
    expect(run.status).toBe(0);
    return elapsed;
  };
  const report = (what: string, times: readonly number[]): number => {
    const median = [...times].sort((a, b) => a - b)[times.length >> 1]!;
    process.stdout.write(`${what}: median ${median.toFixed(0)} ms of ${times.length}\n`);
    return median;
  };

  it('one call', () => {
    expect(
      report('the first call, which sets the plane up', [timed('fresh', ['-A', '-t', '192.0.2.1:80'])]),
    ).toBeLessThan(saneCallMs);
    timed('director', ['-A', '-t', '192.0.2.1:80']);
    const add = Array.from({ length: 5 }, (_, i) => timed('director', ['-A', '-t', `192.0.2.1:${1000 + i}`]));
    expect(report('-A', add)).toBeLessThan(saneCallMs);
    const list = Array.from({ length: 5 }, () => timed('director', ['-L', '-n']));
    expect(report('-L -n', list)).toBeLessThan(saneCallMs);
    const idle = Array.from({ length: 5 }, () => {
      const start = performance.now();
      lab.run('director', process.execPath, ['-e', '0']);
      return performance.now() - start;
    });
    report('Node alone', idle);
  });

  it('10,000 rules', () => {
    const rules = Array.from({ length: 1000 }, (_, i) => [
      `-A -t 192.0.2.1:${2000 + i} -s wlc`,
      ...Array.from(
        { length: 9 },
        (_, j) => `-a -t 192.0.2.1:${2000 + i} -r 10.9.${i % 250}.${j + 1}:80 -m -w ${j + 1}`,
      ),
    ]).flat();
    expect(rules.length).toBe(10_000);
    timed('director', ['-C']);
    expect(report('-R of 10,000 rules', [timed('director', ['-R'], `${rules.join('\n')}\n`)])).toBeLessThan(
      saneRestoreMs,
    );
    expect(report('-S -n of them', [timed('director', ['-S', '-n'])])).toBeLessThan(saneRestoreMs);
    const saved = lab.run('director', process.execPath, [launcher, '-S', '-n'], { env: smallTable }).stdout;
    expect(saved.trim().split('\n').length).toBe(10_000);
  });
});
