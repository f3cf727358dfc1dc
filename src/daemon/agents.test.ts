import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { Heard } from '../checks/ask-agent.ts';
import { loadText } from '../config/load.ts';
import { wantedOf } from '../control/wanted.ts';
import { readAgentAnswer } from '../model/agent-answer.ts';
import type { NewEvent } from '../model/event.ts';
import { memberKey } from '../model/override.ts';
import { serviceKey } from '../model/service-id.ts';
import { type Agents, openAgents } from './agents.ts';

const wanted = (agent: string) => {
  const text = `virtualServices:
  - name: web
    address: 192.0.2.10:80
    agent: ${agent}
    realServers:
      - { name: web1, address: 10.0.0.1, weight: 100 }
      - { name: web2, address: 10.0.0.2, weight: 100 }
  - name: secure
    address: 192.0.2.10:443
    agent: ${agent}
    realServers: [{ name: web1, address: 10.0.0.1, weight: 100 }]
`;
  return wantedOf(loadText(text, 'h.yaml').configuration!);
};

let agents: Agents;
let events: NewEvent[];
let changes: string[];
let asked: string[];
/** What the agent of an address says, at each question. */
let says: (address: string) => string | undefined;
let out: Set<string>;

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 });
  [events, changes, asked, out] = [[], [], [], new Set()];
  agents = openAgents({
    kept: () => [],
    changed: (services) => changes.push(...services),
    serving: async () =>
      new Map(
        agents
          .standing()
          .map((one) => [memberKey(one.service, one.destination), 100] as const)
          .filter(([key]) => !out.has(key)),
      ),
    note: (event) => events.push(event),
    log: () => undefined,
    nowMs: () => Date.now(),
    runner: {
      random: () => 0,
      run: async (_check, target): Promise<Heard> => {
        asked.push(target.address);
        const words = says(target.address);
        return words === undefined
          ? { failure: 'connect: connection refused' }
          : { answer: readAgentAnswer(words) };
      },
    },
  });
});
afterEach(() => {
  agents.stop();
  vi.useRealTimers();
});

const factors = () =>
  Object.fromEntries(
    agents.standing().map((one) => [`${serviceKey(one.service)} ${one.destination.address}`, one.factor]),
  );
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

test('one agent of several services is asked once, and speaks for its real server in all of them', async () => {
  says = (address) => (address === '10.0.0.1' ? '40%' : '100%');
  agents.follow(wanted('{ interval: 1s }'));
  await pass(10);
  expect(asked.toSorted()).toEqual(['10.0.0.1', '10.0.0.2']);
  expect(factors()).toEqual({
    'tcp 192.0.2.10:80 10.0.0.1': 0.4,
    'tcp 192.0.2.10:80 10.0.0.2': 1,
    'tcp 192.0.2.10:443 10.0.0.1': 0.4,
  });
  changes.length = 0;
  await pass(5000);
  expect(changes).toEqual([]);
});

test('a weight that moves is no event, however often it does', async () => {
  let n = 0;
  says = () => `${20 + (n++ % 60)}%`;
  agents.follow(wanted('{ interval: 1s }'));
  await pass(60_000);
  expect(changes.length).toBeGreaterThan(50);
  expect(events).toEqual([]);
});

test('an agent that changes its mind all the time is told of every ten seconds, and acted on each time', async () => {
  let n = 0;
  says = (address) => (address === '10.0.0.1' ? (n++ % 2 ? 'up' : 'down #flaps') : 'up');
  agents.follow(wanted('{ interval: 1s }'));
  await pass(100_000);
  const told = events.filter(({ kind }) => kind === 'agent-said');
  // One line for each of its two services.
  expect(told.length).toBeLessThanOrEqual(22);
  expect(told.length).toBeGreaterThan(4);
  expect(told[0]!.what).toBe('web/web1: its agent says down: flaps');
  expect(changes.filter((key) => key === 'tcp 192.0.2.10:80').length).toBeGreaterThan(90);
});

test('weights from load move from who has more of it, and not for one who gets no clients', async () => {
  says = (address) => (address === '10.0.0.1' ? '5%' : '60%');
  agents.follow(wanted('{ interval: 1s, weights: load }'));
  await pass(30_000);
  const [one, two] = [factors()['tcp 192.0.2.10:80 10.0.0.1']!, factors()['tcp 192.0.2.10:80 10.0.0.2']!];
  expect(one).toBeLessThan(0.7);
  expect(one + two).toBeCloseTo(2, 1);
  // Alone in its service there is nobody to take it.
  expect(factors()['tcp 192.0.2.10:443 10.0.0.1']).toBe(1);
  // Drained it has nothing to do: that is no reason for more weight than it was given.
  out.add('tcp 192.0.2.10:80 10.0.0.1:80');
  says = (address) => (address === '10.0.0.1' ? '100%' : '60%');
  await pass(60_000);
  expect(factors()['tcp 192.0.2.10:80 10.0.0.1']).toBeCloseTo(1, 1);
  expect(factors()['tcp 192.0.2.10:80 10.0.0.2']).toBeCloseTo(1, 1);
});

test('one that is asked otherwise from now on keeps what it has said, and is not told of again', async () => {
  says = () => 'drain 40%';
  agents.follow(wanted('{ interval: 1s }'));
  await pass(10);
  expect(events).toHaveLength(3);
  says = () => undefined;
  agents.follow(wanted('{ interval: 2s }'));
  expect(agents.standing()[0]).toMatchObject({ admission: 'drain', factor: 0.4 });
  changes.length = 0;
  says = () => 'drain';
  agents.follow(wanted('{ interval: 2s, weights: load }'));
  // A percentage is a load from now on: until there is one, the weight is what it was.
  expect(agents.standing()[0]).toMatchObject({ admission: 'drain', weights: 'load', factor: 0.4 });
  agents.follow(wanted('{ interval: 3s }'));
  await pass(10);
  expect(agents.standing()[0]).toMatchObject({ admission: 'drain', factor: 0.4 });
  expect(events).toHaveLength(3);
});

test('a configuration that no longer asks leaves nothing behind', async () => {
  says = () => 'drain 10%';
  agents.follow(wanted('{ interval: 1s }'));
  await pass(10);
  expect(agents.standing()).toHaveLength(3);
  const text =
    'virtualServices: [{ name: web, address: 192.0.2.10:80, realServers: [{ address: 10.0.0.1 }] }]';
  agents.follow(wantedOf(loadText(text, 'h.yaml').configuration!));
  asked.length = 0;
  await pass(5000);
  expect([agents.standing(), asked]).toEqual([[], []]);
});
