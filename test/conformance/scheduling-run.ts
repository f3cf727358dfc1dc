import type { Family } from '../../src/model/address.ts';
import { type Scheduling, startScheduler } from '../../src/model/schedulers/by-name.ts';
import { type DestinationView, lastWeightAfter } from '../../src/model/schedulers/scheduler.ts';
import { destinationKey } from '../../src/model/service-id.ts';
import type { Destination, DestinationId, SchedulerName } from '../../src/model/virtual-service.ts';
import type { Numbers } from '../packets/random.ts';
import {
  addDestination,
  change,
  deleteDestination,
  destination,
  editDestination,
  virtualService,
} from './operations.ts';
import type { Conversation, Rig } from './rig.ts';

export type Setup = {
  readonly scheduler: SchedulerName;
  readonly flags: { readonly flag1?: boolean; readonly flag2?: boolean };
  readonly family: Family;
};

type Held = { settings: Destination; active: number; inactive: number; lastWeight: number };
type Connection = {
  readonly client: DestinationId;
  readonly choose: () => number | undefined;
  conversation: Conversation;
  to: Held;
  active: boolean;
};

const weights = [0, 1, 1, 2, 3, 4, 6, 10, 100];

/** One service under random changes and connections, held against the reference algorithm at every choice. */
export type SchedulingRun = {
  readonly chosen: () => number;
  readonly refused: () => number;
  /** Newest first: what its destinations must be shown with. */
  readonly list: readonly Held[];
  readonly id: Awaited<ReturnType<Rig['service']>>;
  step(): Promise<void>;
  /** Ends what is open and takes the service away. */
  end(): Promise<void>;
};

export async function startRun(
  rig: Rig,
  setup: Setup,
  random: Numbers,
  label: string,
): Promise<SchedulingRun> {
  const id = await rig.service(setup.family, 'tcp');
  const flags = { flag1: false, flag2: false, flag3: false, ...setup.flags };
  const service = virtualService(id, { scheduler: setup.scheduler, schedulerFlags: flags });
  const scheduling: Scheduling = startScheduler(setup.scheduler, [], setup.family);
  /** Newest first, as the kernel's list; and those that were deleted. */
  const list: Held[] = [];
  const deleted: Held[] = [];
  let connections: Connection[] = [];
  const trail: string[] = [];
  let clients = 0;
  let chosen = 0;
  let refused = 0;
  await change(rig, { kind: 'add-service', service });
  await add();
  return { chosen: () => chosen, refused: () => refused, list, id, step, end };

  async function step(): Promise<void> {
    const dice = random.below(100);
    if (dice < 3 && list.length < 12) return add();
    if (dice < 5 && list.length > 1) return remove();
    if (dice < 8) return edit();
    if (dice < 25) return close();
    if (dice < 35) return reopen();
    return open();
  }

  async function end(): Promise<void> {
    for (const { conversation, active } of connections) if (active) await conversation.reset();
    await change(rig, { kind: 'delete-service', id });
  }

  function views(): DestinationView[] {
    return list.map(({ settings, active, inactive, lastWeight }) => ({
      ...settings,
      lastWeight,
      active,
      total: active + inactive,
      overloaded: false,
      available: true,
    }));
  }

  function note(what: string): void {
    trail.push(what);
    if (trail.length > 15) trail.shift();
  }

  /** A new destination, or one that was deleted and comes back with the connections it has. */
  async function add(): Promise<void> {
    const weight = random.pick(weights);
    const back = random.below(2) ? deleted.splice(random.below(deleted.length), 1)[0] : undefined;
    const place = back ? back.settings : await rig.realServer(setup.family, 'tcp');
    note(`add ${destinationKey(place)} weight ${weight}${back ? ', once more' : ''}`);
    await change(rig, addDestination(id, place, { weight }));
    const settings = destination(place, { weight });
    const lastWeight = lastWeightAfter(undefined, weight);
    list.unshift(
      back ? Object.assign(back, { settings, lastWeight }) : { settings, active: 0, inactive: 0, lastWeight },
    );
    scheduling.changed(views());
  }

  async function remove(): Promise<void> {
    const [one] = list.splice(random.below(list.length), 1);
    note(`delete ${destinationKey(one!.settings)}`);
    await change(rig, deleteDestination(id, one!.settings));
    if (rig.afterDelete === 'reset') {
      connections = connections.filter(({ to }) => to !== one);
      one!.active = 0;
      one!.inactive = 0;
    }
    deleted.push(one!);
    scheduling.changed(views());
  }

  async function edit(): Promise<void> {
    const one = random.pick(list);
    const weight = random.pick(weights);
    one.settings = { ...one.settings, weight };
    one.lastWeight = lastWeightAfter(one.lastWeight, weight);
    note(`edit ${destinationKey(one.settings)} weight ${weight}`);
    await change(rig, editDestination(id, one.settings, { weight }));
    scheduling.changed(views());
  }

  async function open(): Promise<void> {
    const client = {
      address: rig.client(setup.family, random.below(5000)),
      port: 1024 + (clients++ % 60_000),
    };
    const packet = {
      source: client.address,
      sourcePort: client.port,
      destination: id.address,
      destinationPort: id.port,
      inverse: false,
    };
    const choose = () =>
      scheduling.choose(views(), { packet, flags: service.schedulerFlags, nowMs: 0, random: () => 0 });
    const found = await expectChoice(client, choose());
    if (found) connections.push({ client, choose, ...found, active: true });
  }

  /** The client's connection must go where the reference says. */
  async function expectChoice(
    client: DestinationId,
    choice: number | undefined,
  ): Promise<{ to: Held; conversation: Conversation } | undefined> {
    const to = choice === undefined ? undefined : list[choice]!;
    const wanted = to ? destinationKey(to.settings) : 'nobody';
    note(`${destinationKey(client)} opens: ${wanted}`);
    const conversation = await rig.open(id, client);
    const found = conversation ? destinationKey(conversation.server) : 'nobody';
    if (found !== wanted) throw new Error(`${label}: wanted ${wanted}, found ${found}\n${trail.join('\n')}`);
    if (!to || !conversation) {
      refused++;
      return undefined;
    }
    chosen++;
    to.active++;
    return { to, conversation };
  }

  /** A connection is reset: no longer active. */
  async function close(): Promise<void> {
    const one = random.pick(connections);
    if (!one?.active || !list.includes(one.to)) return;
    note(`${destinationKey(one.client)} resets`);
    await one.conversation.reset();
    one.active = false;
    one.to.active--;
    if (rig.afterEnd === 'an inactive entry') one.to.inactive++;
  }

  /** A connection that was reset is opened again from the same port. */
  async function reopen(): Promise<void> {
    const place = random.below(connections.length);
    const one = connections[place];
    if (!one || one.active) return;
    const before = rig.endedCounts ? one.choose() : undefined;
    if (rig.afterEnd === 'an inactive entry') one.to.inactive--;
    const found = await expectChoice(one.client, rig.endedCounts ? before : one.choose());
    if (found) Object.assign(one, { ...found, active: true });
    else connections.splice(place, 1);
  }
}
