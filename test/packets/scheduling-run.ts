import type { Address } from '../../src/model/address.ts';
import { type Scheduling, startScheduler } from '../../src/model/schedulers/by-name.ts';
import { type DestinationView, lastWeightAfter } from '../../src/model/schedulers/scheduler.ts';
import type { AddressServiceId, Destination, SchedulerName } from '../../src/model/virtual-service.ts';
import { encode, tcp } from './frame.ts';
import type { Harness } from './harness.ts';
import type { Numbers } from './random.ts';
import { at, destination, virtualService } from './services.ts';

export type Setup = {
  readonly scheduler: SchedulerName;
  readonly flags: { readonly flag1?: boolean; readonly flag2?: boolean };
  readonly family: 4 | 6;
  /** Virtual address and port. */
  readonly service: string;
  readonly real: (n: number) => string;
  readonly client: (n: number) => Address;
};

type Held = { settings: Destination; active: number; inactive: number; lastWeight: number };
type Connection = {
  readonly client: string;
  readonly choose: () => number | undefined;
  to: Held;
  active: boolean;
};

const refusedMark = 0x48010000;
const weights = [0, 1, 1, 2, 3, 4, 6, 10, 100];

/** One service under random changes and connections, held against the reference algorithm at every choice. */
export type SchedulingRun = {
  readonly chosen: () => number;
  readonly refused: () => number;
  readonly list: readonly Held[];
  step(): Promise<void>;
};

export async function startRun(
  harness: Harness,
  setup: Setup,
  random: Numbers,
  label: string,
): Promise<SchedulingRun> {
  const service = virtualService(`tcp ${setup.service}`, setup.scheduler, setup.flags);
  const id = service.id as AddressServiceId;
  const scheduling: Scheduling = startScheduler(setup.scheduler, [], setup.family);
  /** Newest first, as the kernel's list; and those that were deleted. */
  const list: Held[] = [];
  const deleted: Held[] = [];
  const connections: Connection[] = [];
  const trail: string[] = [];
  let ports = 1000;
  let clients = 0;
  let chosen = 0;
  let refused = 0;
  await harness.apply({ kind: 'flush' }, { kind: 'add-service', service });
  await add();
  return { chosen: () => chosen, refused: () => refused, list, step };

  async function step(): Promise<void> {
    const dice = random.below(100);
    if (dice < 3 && list.length < 12) return add();
    if (dice < 5 && list.length > 1) return remove();
    if (dice < 8) return edit();
    if (dice < 25) return close();
    if (dice < 35) return reopen();
    open();
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
    const place = back
      ? at(back.settings.address, back.settings.port)
      : at(setup.real(11 + random.below(6)), ports++);
    const settings = destination(place, 'masquerade', weight);
    note(`add ${place} weight ${weight}${back ? ', once more' : ''}`);
    await harness.apply({ kind: 'add-destination', id, destination: settings });
    const lastWeight = lastWeightAfter(undefined, weight);
    list.unshift(
      back ? Object.assign(back, { settings, lastWeight }) : { settings, active: 0, inactive: 0, lastWeight },
    );
    scheduling.changed(views());
  }

  async function remove(): Promise<void> {
    const [one] = list.splice(random.below(list.length), 1);
    note(`delete ${at(one!.settings.address, one!.settings.port)}`);
    await harness.apply({ kind: 'delete-destination', id, destination: one!.settings });
    deleted.push(one!);
    scheduling.changed(views());
  }

  async function edit(): Promise<void> {
    const one = random.pick(list);
    const weight = random.pick(weights);
    one.settings = { ...one.settings, weight };
    one.lastWeight = lastWeightAfter(one.lastWeight, weight);
    note(`edit ${at(one.settings.address, one.settings.port)} weight ${weight}`);
    await harness.apply({ kind: 'edit-destination', id, destination: one.settings });
    scheduling.changed(views());
  }

  function open(): void {
    const source = setup.client(random.below(5000));
    const sourcePort = 1024 + (clients++ % 60_000);
    const packet = { source, sourcePort, destination: id.address, destinationPort: id.port, inverse: false };
    const choose = () =>
      scheduling.choose(views(), { packet, flags: service.schedulerFlags, nowMs: 0, random: () => 0 });
    const client = at(source, sourcePort);
    const to = expectChoice(client, choose());
    if (to) connections.push({ client, choose, to, active: true });
  }

  /** The client's SYN must go where the reference says. */
  function expectChoice(client: string, choice: number | undefined): Held | undefined {
    const to = choice === undefined ? undefined : list[choice]!;
    const wanted = to ? at(to.settings.address, to.settings.port) : 'nobody';
    note(`SYN from ${client}: ${wanted}`);
    harness.clearIcmpLimits();
    const outcome = harness.receive('c0', tcp(client, setup.service, 'S'));
    const found = outcome.bytes.subarray(14);
    const right = to
      ? found.equals(encode(tcp(client, wanted, 'S', { ttl: 63 })))
      : outcome.mark === refusedMark;
    if (!right) {
      throw new Error(`${label}: wanted ${wanted}, found ${found.toString('hex')}\n${trail.join('\n')}`);
    }
    if (!to) {
      refused++;
      return undefined;
    }
    chosen++;
    to.active++;
    return to;
  }

  /** A connection gets its ACK and an RST: no longer active. */
  function close(): void {
    const one = random.pick(connections);
    if (!one?.active || !list.includes(one.to)) return;
    for (const flags of ['A', 'R']) harness.receive('c0', tcp(one.client, setup.service, flags));
    one.active = false;
    one.to.active--;
    one.to.inactive++;
    note(`${one.client} closed`);
  }

  /** A SYN on a closed connection ends it and opens another. */
  function reopen(): void {
    const place = random.below(connections.length);
    const one = connections[place];
    if (!one || one.active) return;
    one.to.inactive--;
    const to = expectChoice(one.client, one.choose());
    if (to) Object.assign(one, { to, active: true });
    else connections.splice(place, 1);
  }
}
