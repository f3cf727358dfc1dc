import { count } from '../model/count.ts';
import { finder, plan } from '../model/plan.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import { sysctlText } from '../model/sysctls.ts';
import type {
  DestinationState,
  Observed,
  Operation,
  ServiceEntry,
  ServiceState,
  Table,
} from '../model/table.ts';
import type {
  Destination,
  DestinationId,
  FullNat,
  ServiceId,
  VirtualService,
  WhenGone,
} from '../model/virtual-service.ts';
import { editedService, whenGoneOf } from '../model/when-gone.ts';
import { type Names, plainNames, type Wanted } from './wanted.ts';

/** One operation, told to a person. */
export type Step = {
  readonly operation: Operation;
  /** `+` comes, `-` goes, `~` changes. */
  readonly sign: '+' | '-' | '~';
  /** What it is about, by name. */
  readonly what: string;
  /** What it is, or what changes: `weight 3 -> 0`. */
  readonly detail: string;
  /** All of it as it is and as it will be; absent where it is not there. */
  readonly before?: string;
  readonly after?: string;
  /** Connections that are there and that the step concerns. */
  readonly connections: number;
  /** What it does to them: `drains 41 connections`; absent where they go on undisturbed. */
  readonly effect?: string;
};

/** What applying a configuration would do. */
export type Change = {
  readonly steps: readonly Step[];
  /** Services that are there, are not described and are left alone. */
  readonly strangers: readonly ServiceId[];
  /** Why it is not done without a word from a person; empty: it is. */
  readonly concerns: readonly string[];
};

/**
 * The steps from what is there to what is wanted. `made` is what an earlier configuration made: it is no stranger; `found` are the
 * rules of what is there. Pure.
 */
export function changeBetween(
  wanted: Wanted,
  observed: Observed,
  made: Table = { services: [] },
  found: Table = tableOf(observed.services),
): Change {
  const [described, earlier] = [finder(wanted.table.services), finder(made.services)];
  const isStranger = ({ service: { id } }: ServiceEntry, place: number) =>
    !wanted.own && !described(id, place) && !earlier(id, place);
  const strangers = found.services.filter(isStranger).map(({ service }) => service.id);
  const present = found.services.filter((entry, place) => !isStranger(entry, place));
  const operations = [...plan(wanted.table, { services: present }), ...timeoutOperations(wanted, observed)];
  if (operations.length === 0) return { steps: [], strangers, concerns: [] };
  const there = indexOf(observed, operations);
  const steps = operations.map((operation) => stepOf(operation, there, wanted.names));
  return { steps, strangers, concerns: concernsOf(wanted.names, there, operations) };
}

/** A change in numbers, with its first steps: of ten thousand steps not all are to be told. */
export type Outline = {
  readonly signs: Readonly<Record<Step['sign'], number>>;
  /** As many as were asked for, or all there are. */
  readonly first: readonly Step[];
};

/** What `changeBetween` would tell of a table that is all one's own, in outline. Pure. */
export function outlineBetween(wanted: Omit<Wanted, 'own'>, observed: Observed, told: number): Outline {
  const operations = [
    ...plan(wanted.table, tableOf(observed.services)),
    ...timeoutOperations(wanted, observed),
  ];
  const signs = { '+': 0, '-': 0, '~': 0 };
  for (const operation of operations) signs[signOf(operation)]++;
  const there = indexOf(observed, operations);
  return { signs, first: operations.slice(0, told).map((one) => stepOf(one, there, wanted.names)) };
}

function signOf({ kind }: Operation): Step['sign'] {
  if (kind === 'add-service' || kind === 'add-destination') return '+';
  return kind === 'delete-service' || kind === 'delete-destination' || kind === 'flush' ? '-' : '~';
}

/** The rules of what a plane shows. */
export function tableOf(services: readonly ServiceState[]): Table {
  return {
    services: services.map(({ service, destinations }) => ({
      service,
      destinations: destinations.map(({ destination }) => destination),
    })),
  };
}

/** An operation told without what it meets: only what it makes. */
export function bareStep(operation: Operation): Pick<Step, 'sign' | 'what' | 'detail'> {
  const sign = signOf(operation);
  switch (operation.kind) {
    case 'add-service':
    case 'edit-service': {
      const { service } = operation;
      return { sign, what: serviceKey(service.id), detail: settingsText(service) };
    }
    case 'add-destination':
    case 'edit-destination': {
      const { id, destination } = operation;
      return { sign, what: member(plainNames, id, destination), detail: settingsOf(destination) };
    }
    case 'delete-service':
      return { sign, what: serviceKey(operation.id), detail: '' };
    case 'delete-destination':
      return { sign, what: member(plainNames, operation.id, operation.destination), detail: '' };
    default:
      return { sign, what: operation.kind, detail: '' };
  }
}

function timeoutOperations({ timeouts }: Pick<Wanted, 'timeouts'>, observed: Observed): Operation[] {
  const differs = (['tcp', 'tcpFin', 'udp'] as const).some(
    (name) => timeouts[name] !== undefined && timeouts[name] !== observed.timeouts[name],
  );
  return differs ? [{ kind: 'set-timeouts', timeouts }] : [];
}

/** What is there, by name. */
type Index = Pick<Observed, 'timeouts'> & {
  readonly services: ReadonlyMap<string, ServiceState>;
  /** One that must be there. */
  destination(id: ServiceId, destination: DestinationId): DestinationState;
  /** What will become of connections whose real server is gone. */
  whenGone(id: ServiceId): WhenGone;
};

function indexOf({ services, timeouts }: Observed, operations: readonly Operation[]): Index {
  const byKey = new Map(services.map((state) => [serviceKey(state.service.id), state]));
  /** Made for the services that something is asked about. */
  const members = new Map<string, ReadonlyMap<string, DestinationState>>();
  const membersOf = (key: string) => {
    const found =
      members.get(key) ??
      new Map(byKey.get(key)!.destinations.map((one) => [destinationKey(one.destination), one]));
    members.set(key, found);
    return found;
  };
  const edits = new Map(
    operations.flatMap((one) =>
      one.kind === 'edit-service' ? [[serviceKey(one.service.id), one.service] as const] : [],
    ),
  );
  return {
    timeouts,
    services: byKey,
    whenGone(id) {
      const [{ service }, edit] = [byKey.get(serviceKey(id))!, edits.get(serviceKey(id))];
      return whenGoneOf(edit ? editedService(service, edit) : service);
    },
    destination: (id, destination) => membersOf(serviceKey(id)).get(destinationKey(destination))!,
  };
}

function stepOf(operation: Operation, there: Index, names: Names): Step {
  switch (operation.kind) {
    case 'add-service': {
      const { id } = operation.service;
      const after = settingsText(operation.service);
      return { ...plainStep(operation, names.service(id)), detail: after, after };
    }
    case 'edit-service': {
      const { service } = operation;
      const before = there.services.get(serviceKey(service.id))!;
      return {
        ...plainStep(operation, names.service(service.id)),
        detail: differences(
          serviceSettings(before.service),
          serviceSettings(editedService(before.service, service)),
        ),
        before: settingsText(before.service),
        after: settingsText(service),
        connections: connectionsOf(before),
      };
    }
    case 'delete-service': {
      const before = there.services.get(serviceKey(operation.id))!;
      const connections = connectionsOf(before);
      return {
        ...plainStep(operation, names.service(operation.id)),
        detail: `with its ${count(before.destinations.length, 'real server')}`,
        before: settingsText(before.service),
        connections,
        ...(connections > 0 && { effect: goneEffect(there.whenGone(operation.id), connections) }),
      };
    }
    case 'add-destination': {
      const { destination, id } = operation;
      return {
        ...plainStep(operation, member(names, id, destination)),
        detail: briefly(names, id, destination),
        after: memberText(destination),
      };
    }
    case 'edit-destination': {
      const { destination, id } = operation;
      const before = there.destination(id, destination);
      const connections = before.activeConnections + before.inactiveConnections;
      const effect = editEffect(before.destination, destination, connections);
      return {
        ...plainStep(operation, member(names, id, destination)),
        detail: differences(destinationSettings(before.destination), destinationSettings(destination)),
        before: memberText(before.destination),
        after: memberText(destination),
        connections,
        ...(effect === undefined ? {} : { effect }),
      };
    }
    case 'delete-destination': {
      const { destination, id } = operation;
      const before = there.destination(id, destination);
      const connections = before.activeConnections + before.inactiveConnections;
      return {
        ...plainStep(operation, member(names, id, destination)),
        detail: briefly(names, id, before.destination),
        before: memberText(before.destination),
        connections,
        ...(connections > 0 && { effect: goneEffect(there.whenGone(id), connections) }),
      };
    }
    case 'set-timeouts': {
      const before = secondsOf(there.timeouts);
      const after = { ...before, ...secondsOf(operation.timeouts) };
      return {
        ...plainStep(operation, 'timeouts'),
        detail: differences(before, after),
        before: Object.values(before).join(', '),
        after: Object.values(after).join(', '),
      };
    }
    case 'set-sysctls':
      return {
        ...plainStep(operation, 'sysctls'),
        detail: Object.entries(operation.sysctls)
          .map(([name, value]) => `${name} = ${sysctlText(value)}`)
          .join(', '),
      };
    case 'zero':
      return { ...plainStep(operation, 'counters'), detail: 'to 0' };
    case 'flush':
      return { ...plainStep(operation, 'everything'), detail: '' };
  }
}

const plainStep = (operation: Operation, what: string) => ({
  operation,
  sign: signOf(operation),
  what,
  connections: 0,
});

const member = (names: Names, id: ServiceId, destination: DestinationId): string =>
  `${names.service(id)}/${names.realServer(id, destination)}`;

type Settings = Readonly<Record<string, string>>;

function serviceSettings(service: VirtualService): Settings {
  const { scheduler, schedulerFlags, onePacket, persistence } = service;
  const flags = Object.entries(schedulerFlags)
    .filter(([, on]) => on)
    .map(([name]) => name.replace('flag', 'flag-'));
  return {
    scheduler: `scheduler ${scheduler}`,
    flags: flags.length > 0 ? `scheduler flags ${flags.join(' ')}` : 'no scheduler flags',
    persistence: persistence ? persistenceText(persistence) : 'no persistence',
    onePacket: onePacket ? 'one-packet' : 'whole connections',
    whenGone: `whenGone ${whenGoneOf(service)}`,
  };
}

function persistenceText({
  timeoutSeconds,
  netmask,
  engine,
}: NonNullable<VirtualService['persistence']>): string {
  const whole = netmask === 0xffffffff || netmask === 128;
  const mask = whole ? '' : `, netmask ${netmask > 128 ? maskText(netmask) : netmask}`;
  return `persistence ${timeoutSeconds} s${mask}${engine === undefined ? '' : `, by ${engine}`}`;
}

const maskText = (netmask: number): string =>
  [24, 16, 8, 0].map((shift) => (netmask >>> shift) & 255).join('.');

/** Settings that are not the plainest. */
function settingsText(service: VirtualService): string {
  const { scheduler, ...rest } = serviceSettings(service);
  const plain = [
    'no scheduler flags',
    'no persistence',
    'whole connections',
    // What a configuration has by itself, and what ipvsadm makes.
    'whenGone expire',
    'whenGone drop',
  ];
  const others = Object.values(rest).filter((text) => !plain.includes(text));
  return [scheduler, ...others].join(', ');
}

function destinationSettings({
  method,
  tunnel,
  fullNat,
  weight,
  upperThreshold,
  lowerThreshold,
  expiresTemplates,
}: Destination): Settings {
  const how = tunnel
    ? `${method} ${tunnel.type}${tunnel.port > 0 ? ` port ${tunnel.port}` : ''}`
    : fullNat
      ? `${method}, ${fullNatText(fullNat)}`
      : method;
  return {
    method: how,
    weight: `weight ${weight}`,
    ...(upperThreshold > 0 && { upper: `upper threshold ${upperThreshold}` }),
    ...(lowerThreshold > 0 && { lower: `lower threshold ${lowerThreshold}` }),
    ...(expiresTemplates && { clients: 'persistent clients stay away' }),
  };
}

/** From where, and what the real server hears of the client. */
const fullNatText = ({ localAddresses, clientAddress }: FullNat): string =>
  [
    ...(localAddresses.length > 0 ? [`from ${localAddresses.join(' and ')}`] : []),
    clientAddress === 'hidden' ? 'client hidden' : `client by ${clientAddress}`,
  ].join(', ');

const settingsOf = (destination: Destination): string =>
  Object.values(destinationSettings(destination)).join(', ');

/** Without the address where that is its name already. */
const briefly = (names: Names, id: ServiceId, destination: Destination): string =>
  names.realServer(id, destination) === destinationKey(destination)
    ? settingsOf(destination)
    : memberText(destination);

const memberText = (destination: Destination): string =>
  `${destinationKey(destination)} ${settingsOf(destination)}`;

const secondsOf = (timeouts: object): Settings =>
  Object.fromEntries(Object.entries(timeouts).map(([name, value]) => [name, `${name} ${value} s`]));

/** What differs, as `weight 3 -> 0`. */
function differences(before: Settings, after: Settings): string {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...names]
    .filter((name) => before[name] !== after[name])
    .map((name) => `${before[name] ?? absent(name)} -> ${lastWord(before[name], after[name], name)}`)
    .join(', ');
}

/** A setting that is not there. */
const absent = (name: string): string =>
  name === 'clients' ? 'persistent clients come back' : `no ${name} threshold`;

/** The new value without the word both begin with. */
function lastWord(before: string | undefined, after: string | undefined, name: string): string {
  if (after === undefined) return absent(name);
  const [word] = after.split(' ');
  return before?.startsWith(`${word} `) ? after.slice(word!.length + 1) : after;
}

function goneEffect(whenGone: WhenGone, connections: number): string {
  const [those, s] = [count(connections, 'connection'), connections === 1 ? 's' : ''];
  switch (whenGone) {
    case 'keep':
      return `${those} go${s && 'es'} on to it`;
    case 'drop':
      return `${those} fall${s} silent`;
    case 'expire':
      return `${those} end${s} with ${connections === 1 ? 'its' : 'their'} next packet`;
    case 'reset':
      return `${those} end${s} with a reset`;
  }
}

function editEffect(before: Destination, after: Destination, connections: number): string | undefined {
  if (connections === 0) return undefined;
  const those = count(connections, 'connection');
  if (before.method !== after.method) return `forwards ${those} another way, which may end them`;
  if (after.weight === 0 && before.weight > 0) return `drains ${those}`;
  return undefined;
}

/** Shares of real servers that may go at one time without a word. */
const unaskedShare = 1 / 2;

/**
 * What a person should agree to first: a service with connections goes, one that served is left without a real server
 * for new clients, or more than half of all that serve are taken out at once.
 */
function concernsOf(names: Names, there: Index, operations: readonly Operation[]): string[] {
  const touched = new Set(operations.map(keyOf));
  const serving = new Map<string, Set<string>>();
  let all = 0;
  for (const [key, { destinations }] of there.services) {
    const up = destinations.filter(({ destination }) => destination.weight > 0);
    all += up.length;
    if (touched.has(key)) serving.set(key, new Set(up.map(({ destination }) => destinationKey(destination))));
  }
  const before = new Map([...serving].map(([key, up]) => [key, up.size]));
  const concerns: string[] = [];
  let taken = 0;
  for (const operation of operations) {
    if (operation.kind === 'delete-service') {
      const state = there.services.get(serviceKey(operation.id))!;
      const connections = connectionsOf(state);
      taken += serving.get(serviceKey(operation.id))!.size;
      serving.delete(serviceKey(operation.id));
      if (connections > 0)
        concerns.push(`${names.service(operation.id)} goes, with ${count(connections, 'connection')}`);
    } else if (operation.kind === 'add-destination' || operation.kind === 'edit-destination') {
      const up = serving.get(serviceKey(operation.id));
      const key = destinationKey(operation.destination);
      if (operation.destination.weight > 0) up?.add(key);
      else if (up?.delete(key)) taken++;
    } else if (operation.kind === 'delete-destination') {
      if (serving.get(serviceKey(operation.id))?.delete(destinationKey(operation.destination))) taken++;
    }
  }
  for (const { service } of there.services.values()) {
    const key = serviceKey(service.id);
    if (serving.get(key)?.size === 0 && before.get(key)! > 0)
      concerns.push(`${names.service(service.id)} is left without a real server for new clients`);
  }
  if (all > 1 && taken > all * unaskedShare)
    concerns.push(`${taken} of ${count(all, 'real server')} are taken out at once`);
  return concerns;
}

function keyOf(operation: Operation): string | undefined {
  if ('service' in operation) return serviceKey(operation.service.id);
  return 'id' in operation && operation.id ? serviceKey(operation.id) : undefined;
}

function connectionsOf({ destinations }: ServiceState): number {
  return destinations.reduce((sum, one) => sum + one.activeConnections + one.inactiveConnections, 0);
}
