import { describe, expect, it } from 'vitest';
import { clusterMistakes } from './cluster-mistakes.ts';
import { expectedAnswers, testCluster, testMethods, type testSchedulers } from './test-plan.ts';

it('the clusters are sound', () => {
  for (const method of testMethods)
    expect(clusterMistakes(testCluster(method, 'rr')).map(({ sentence }) => sentence)).toEqual([]);
});

describe('what must come of connections one after another', () => {
  const answers = (scheduler: (typeof testSchedulers)[number], connections: number) =>
    expectedAnswers(testCluster('masquerade', scheduler), connections)
      ?.map((name) => name.slice(2))
      .join('');

  // ip_vs_rr.c and ip_vs_wrr.c walk the list from its head, the server that was added last.
  it('is a round of all, newest first, with rr', () => expect(answers('rr', 6)).toBe('321321'));
  // ip_vs_wrr.c: the first server alone has di 3 and mw 1, so the wheel stays on rung 1 as the others come; then 3, 2.
  it('is the weights wheel with wrr', () => expect(answers('wrr', 6)).toBe('321121'));
  // Closed connections count 1, times the other's weight: 0 to all goes to the newest, then to the least loaded.
  it('is least load by weight with wlc', () => expect(answers('wlc', 6)).toBe('321121'));
  it('is one server with sh, whoever that is', () => expect(new Set(answers('sh', 9)).size).toBe(1));
  it('is one server with lblc while it is not overloaded', () =>
    expect(new Set(answers('lblc', 9)).size).toBe(1));
  it('is not foretold with twos', () => expect(answers('twos', 9)).toBeUndefined());
});
