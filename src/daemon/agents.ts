import { type AgentQuestion, askAgent, type Heard } from '../checks/ask-agent.ts';
import type { CheckTarget } from '../checks/check.ts';
import { openRunner, type RunnerOptions } from '../checks/runner.ts';
import type { NoteEvent } from '../control/events.ts';
import type { Wanted } from '../control/wanted.ts';
import type { Address } from '../model/address.ts';
import {
  type AgentRules,
  type AgentState,
  hearAgent,
  isSilent,
  type MemberAgent,
  missAgent,
  saidFactor,
  startAgent,
} from '../model/agent-state.ts';
import { type LoadState, startLoad, stepLoad } from '../model/load-weights.ts';
import { type Member, memberKey } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import type { Log } from './log.ts';

/** What the configuration says of an agent. */
type Settings = AgentQuestion &
  AgentRules & {
    readonly port: number;
    readonly address?: Address | undefined;
    readonly interval: number;
  };
type Job = { readonly check: Settings; readonly target: CheckTarget };

/** A weight moves in steps of so much of the configured one, so that it is not written for every hundredth. */
const coarse = 0.02;
/** An agent that changes its mind more often than this is told of once. */
const tellEveryMs = 10_000;

/** An agent with what it has said, and the entries it speaks for. */
type Watched = Job & {
  readonly key: string;
  readonly members: readonly Member[];
  state: AgentState;
  /** The load it reported last. */
  load?: { readonly value: number; readonly atMs: number } | undefined;
  told: { readonly what: string; readonly atMs: number };
};

/** An agent and one of the entries it speaks for. */
type Spoken = { readonly watched: Watched; readonly member: Member };

/** The agents of a daemon's real servers. */
export type Agents = {
  /** Asks the agents that a configuration in force names; what is as it was goes on. */
  follow(wanted: Wanted): void;
  /** How agents stand, of all services or of these. */
  standing(services?: ReadonlySet<string>): readonly MemberAgent[];
  stop(): void;
};

export type AgentsOptions = {
  /** What was said before the daemon came. */
  readonly kept: () => readonly MemberAgent[];
  /** Told of services, by serviceKey, that are to be looked at again. */
  readonly changed: (services: Iterable<string>) => void;
  /** Of these services the entries, by memberKey, that get new clients, with their weights under all that lies over them. */
  readonly serving: (services: ReadonlySet<string>) => Promise<ReadonlyMap<string, number>>;
  readonly note: NoteEvent;
  readonly log: Log;
  readonly nowMs: () => number;
  readonly runner?: Partial<Pick<RunnerOptions<Job, Heard>, 'run' | 'random'>>;
};

/** Asks agents and keeps what they say; what follows for a weight is a pure rule of the model. */
export function openAgents({
  kept,
  changed,
  serving,
  note,
  log,
  nowMs,
  runner: given,
}: AgentsOptions): Agents {
  let all: ReadonlyMap<string, Watched> = new Map();
  let byService: ReadonlyMap<string, readonly Spoken[]> = new Map();
  let wanted: Wanted | undefined;
  /** By memberKey, of those whose weights come from load. */
  let loads = new Map<string, LoadState>();
  /** Factors in force, by memberKey. */
  const factors = new Map<string, number>();
  const steps = new Map<number, NodeJS.Timeout>();
  let trouble = '';
  const runner = openRunner<Job, Heard>({ run: askAgent, random: Math.random, ...given, onResult, nowMs });

  function onResult(key: string, heard: Heard): number {
    const watched = all.get(key)!;
    const before = watched.state;
    if ('failure' in heard) watched.state = missAgent(before, heard.failure);
    else {
      const { percent } = heard.answer;
      watched.state = hearAgent(before, heard.answer, nowMs());
      const load = heard.report?.load ?? (percent === undefined ? undefined : Math.max(0, 1 - percent / 100));
      watched.load = load === undefined ? undefined : { value: load, atMs: nowMs() };
    }
    tell(watched);
    const { state, check, members } = watched;
    const factor = check.weights === 'said' ? quantized(saidFactor(state)) : undefined;
    const touched = members.filter((one) => {
      const place = memberKey(one.service, one.destination);
      const moved = factor !== undefined && factors.get(place) !== factor;
      if (moved) factors.set(place, factor);
      return moved;
    });
    const turned = (['down', 'admission', 'maxConnections'] as const).some(
      (one) => state[one] !== before[one],
    );
    changed((turned ? members : touched).map(({ service }) => serviceKey(service)));
    return check.interval;
  }

  /** Says what an agent says of its real servers when that is something else than last time; never of a weight. */
  function tell(watched: Watched): void {
    const { state, members, told } = watched;
    const { description, failure } = state;
    const what = sayingOf(state);
    const now = nowMs();
    if (what === told.what || now - told.atMs < tellEveryMs) return;
    // A first answer that says nothing special is not worth a line.
    const isWorthIt = told.what !== '' || what !== 'up and ready';
    watched.told = { what, atMs: isWorthIt ? now : told.atMs };
    if (!isWorthIt) return;
    const wasSilent = told.what === 'silent';
    const why = description === undefined ? '' : `: ${description}`;
    const words = isSilent(state)
      ? `its agent does not answer: ${failure}`
      : `its agent ${wasSilent ? 'answers again, and says' : 'says'} ${what}${why}`;
    const named = new Map(
      members.map(({ service, destination }) => {
        const { names } = wanted!;
        const [of, name] = [names.serviceName(service), names.realServer(service, destination)];
        return [`${of}/${name}`, { service: of, realServer: name }];
      }),
    );
    for (const [whom, of] of named) {
      note({ kind: 'agent-said', what: `${whom}: ${words}`, ...of, reason: words });
      log('info', 'an agent says something else', { realServer: whom, says: words });
    }
  }

  /** One step of the controller for services that have the same interval. */
  async function step(services: ReadonlySet<string>): Promise<void> {
    const weights = await serving(services);
    const moved = [...services].filter((service) => stepService(service, weights));
    if (moved.length > 0) changed(moved);
  }

  /** Takes the newest reports of those that serve; whether a weight is to be another one. */
  function stepService(service: string, weights: ReadonlyMap<string, number>): boolean {
    const members = (byService.get(service) ?? []).flatMap(({ watched, member }) => {
      if (watched.check.weights !== 'load') return [];
      const key = memberKey(member.service, member.destination);
      const { load, state, check } = watched;
      const weight = weights.get(key) ?? 0;
      const isNew = load !== undefined && nowMs() - load.atMs <= 1.5 * check.interval + check.timeout;
      const counts = isNew && weight > 0 && !state.down && !state.admission;
      return [{ key, weight: Math.max(weight, 1), ...(counts && { load: load.value }) }];
    });
    const next = stepLoad(members, loads);
    let moved = false;
    for (const [key, state] of next) {
      loads.set(key, state);
      const before = factors.get(key) ?? 1;
      const factor = quantized(state.factor);
      if (Math.abs(factor - before) < coarse && (factor !== 1 || before === 1)) continue;
      factors.set(key, factor);
      moved = true;
    }
    return moved;
  }

  /** The same reason is told once. */
  function failed(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    if (reason !== trouble && reason !== '') log('error', 'weights from load stay as they are', { reason });
    trouble = reason;
  }

  /** One timer for each interval. */
  function startSteps(intervals: ReadonlyMap<string, number>): void {
    for (const timer of steps.values()) clearInterval(timer);
    steps.clear();
    const groups = new Map<number, Set<string>>();
    for (const [service, ms] of intervals) groups.set(ms, (groups.get(ms) ?? new Set()).add(service));
    for (const [ms, services] of groups)
      steps.set(
        ms,
        setInterval(() => void step(services).then(() => failed(''), failed), ms),
      );
  }

  function standing(services?: ReadonlySet<string>): readonly MemberAgent[] {
    if (!wanted) return kept().filter(({ service }) => !services || services.has(serviceKey(service)));
    const asked = [...(services ?? byService.keys())].flatMap((key) => byService.get(key) ?? []);
    return asked.map(({ watched: { state, check }, member }): MemberAgent => {
      const key = memberKey(member.service, member.destination);
      const load = loads.get(key)?.load;
      const { weights, whenDown } = check;
      return {
        ...{ ...member, ...state, weights, whenDown, factor: factors.get(key) ?? 1 },
        ...(load !== undefined && { load }),
      };
    });
  }

  return {
    standing,
    follow(next) {
      const earlier = new Map(standing().map((one) => [memberKey(one.service, one.destination), one]));
      wanted = next;
      const before = all;
      all = watchedIn(next, before, earlier);
      byService = indexed(all.values());
      for (const key of before.keys()) if (!all.has(key)) runner.stop(key);
      const present = new Set<string>();
      const stepping = new Map<string, number>();
      for (const watched of all.values()) {
        for (const { service, destination } of watched.members) {
          const key = memberKey(service, destination);
          present.add(key);
          const known = earlier.get(key);
          if (known) factors.set(key, known.factor);
          if (watched.check.weights !== 'load') {
            loads.delete(key);
            factors.set(key, quantized(saidFactor(watched.state)));
            continue;
          }
          if (!loads.has(key))
            loads.set(key, {
              ...startLoad,
              factor: known?.factor ?? 1,
              ...(known?.load !== undefined && { load: known.load }),
            });
          const of = serviceKey(service);
          stepping.set(of, Math.min(stepping.get(of) ?? Number.POSITIVE_INFINITY, watched.check.interval));
        }
        if (!before.has(watched.key)) runner.start(watched.key, watched);
      }
      loads = new Map([...loads].filter(([key]) => present.has(key)));
      for (const key of factors.keys()) if (!present.has(key)) factors.delete(key);
      startSteps(stepping);
      // What was put in force with the configuration was by the agents as they were before it.
      const moved = standing().filter(
        ({ service, destination, factor }) =>
          factor !== (earlier.get(memberKey(service, destination))?.factor ?? 1),
      );
      if (moved.length > 0) changed(moved.map(({ service }) => serviceKey(service)));
    },
    stop() {
      runner.close();
      for (const timer of steps.values()) clearInterval(timer);
    },
  };
}

/** What an agent says beside a weight, in words. */
function sayingOf(state: AgentState): string {
  if (isSilent(state)) return 'silent';
  return [state.down, state.admission].filter((word) => word !== undefined).join(' ') || 'up and ready';
}

function indexed(all: Iterable<Watched>): ReadonlyMap<string, readonly Spoken[]> {
  const index = new Map<string, Spoken[]>();
  for (const watched of all)
    for (const member of watched.members) {
      const key = serviceKey(member.service);
      const found = index.get(key) ?? [];
      index.set(key, found);
      found.push({ watched, member });
    }
  return index;
}

const quantized = (factor: number): number => Math.round(factor * 100) / 100;

/** Agents that are the same, at the same place, are one. */
function watchedIn(
  { table, pools }: Pick<Wanted, 'table' | 'pools'>,
  before: ReadonlyMap<string, Watched>,
  kept: ReadonlyMap<string, MemberAgent>,
): ReadonlyMap<string, Watched> {
  const found = new Map<string, Watched & { members: Member[] }>();
  for (const { service, destinations } of table.services) {
    const agents = pools?.get(serviceKey(service.id))?.agents;
    if (!agents) continue;
    for (const { address, port } of destinations) {
      const check = agents.get(destinationKey({ address, port }));
      if (!check) continue;
      const member = { service: service.id, destination: { address, port } };
      const target = {
        ...{ address: check.address ?? address, port: check.port },
        ...{ realServer: member.destination, service: service.id },
      };
      const key = `${target.address} ${target.port} ${JSON.stringify(check)}`;
      const known = kept.get(memberKey(member.service, member.destination));
      const { state, load, told } = before.get(key) ?? {
        ...{ state: known ? stateOf(known) : startAgent, load: undefined },
        told: { what: known ? sayingOf(stateOf(known)) : '', atMs: 0 },
      };
      const same = found.get(key);
      if (same) same.members.push(member);
      else found.set(key, { key, check, target, members: [member], state, load, told });
    }
  }
  return found;
}

/** What was said, as it was heard before: by another daemon, or by this one when it asked otherwise. */
function stateOf({ percent, down, admission, maxConnections, description, answeredMs }: MemberAgent) {
  return {
    missed: 0,
    ...(percent !== undefined && { percent }),
    ...(down && { down }),
    ...(admission && { admission }),
    ...(maxConnections !== undefined && { maxConnections }),
    ...(description !== undefined && { description }),
    ...(answeredMs !== undefined && { answeredMs }),
  };
}
