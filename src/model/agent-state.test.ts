import { expect, test } from 'vitest';
import { readAgentAnswer } from './agent-answer.ts';
import { agentText, hearAgent, missAgent, saidFactor, startAgent } from './agent-state.ts';

const after = (...lines: string[]) =>
  lines.reduce((state, line) => hearAgent(state, readAgentAnswer(line), 1000), startAgent);

// HAProxy's configuration manual: parameters that are not advertised are not changed, only the agent reverts its own.
test('what is not said stays, and only an agent takes back what it said', () => {
  expect(after('40%', 'drain')).toMatchObject({ percent: 40, admission: 'drain' });
  expect(after('maint', '75%').admission).toBe('maint');
  expect(after('maint', 'ready').admission).toBeUndefined();
  expect(after('down #a', '75%')).toMatchObject({ down: 'down' });
  expect(after('stopped', 'up').down).toBeUndefined();
  expect(after('drain', 'up').admission).toBe('drain');
  expect(after('fail', 'ready').down).toBe('fail');
  expect(after('maxconn:30', '50%').maxConnections).toBe(30);
});

test('one that cannot be asked says nothing: its percentage fades, its words stay', () => {
  let state = after('20% drain');
  const factors: number[] = [];
  for (let i = 0; i < 20; i++) {
    state = missAgent(state, 'connect: connection refused');
    factors.push(saidFactor(state));
  }
  expect(factors.slice(0, 3)).toEqual([0.2, 0.2, 0.2]);
  expect(factors[3]).toBeCloseTo(0.36, 6);
  expect(factors.at(-1)).toBeGreaterThan(0.97);
  expect(factors.toSorted((a, b) => a - b)).toEqual(factors);
  expect(state.admission).toBe('drain');
  expect(saidFactor(after('0%'))).toBe(0);
});

test('in words it is what changes something, and why', () => {
  const rules = { weights: 'said', whenDown: 'remove', factor: 1 } as const;
  const text = (line: string) => agentText({ ...after(line), ...rules }, 1000);
  expect(text('40% #cpu 83%')).toBe('agent says 40%: cpu 83%');
  expect(text('up ready 100%')).toBe('');
  expect(text('down #dead')).toBe('agent says down: dead');
  const loaded = { ...after('17% #cpu 83%'), ...rules, weights: 'load', factor: 0.64, load: 0.83 } as const;
  expect(agentText(loaded, 1000)).toBe('64% by its load of 0.83: cpu 83%');
  const silent = { ...after('40%'), ...rules, missed: 3, failure: 'connect: connection refused' };
  expect(agentText(silent, 5000)).toBe(
    'agent says 40%; its agent does not answer since 4s: connect: connection refused',
  );
});
