import { parseAddress } from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';
import { type Member, memberKey, type Override } from '../model/override.ts';
import { destinationKey, serviceKey } from '../model/service-id.ts';
import { suggest } from '../model/suggest.ts';
import type { Table } from '../model/table.ts';
import type { Wanted } from './wanted.ts';

/** A real server of a service by the names people use, with its entries. */
export type Named = Pick<Override, 'service' | 'realServer' | 'members'>;

/** Every real server that a configuration describes, a table has or a decision is about. */
export function namedServers(
  { table, names }: Pick<Wanted, 'table' | 'names'>,
  found: Table,
  overrides: readonly Override[],
): readonly Named[] {
  const named = new Map<string, { service: string; realServer: string; members: Map<string, Member> }>();
  const add = (service: string, realServer: string, members: readonly Member[]) => {
    const one = named.get(`${service}/${realServer}`) ?? { service, realServer, members: new Map() };
    named.set(`${service}/${realServer}`, one);
    for (const member of members) one.members.set(memberKey(member.service, member.destination), member);
  };
  for (const { service, destinations } of [...table.services, ...found.services])
    for (const destination of destinations) {
      const { address, port } = destination;
      const member = { service: service.id, destination: { address, port } };
      add(names.serviceName(service.id), names.realServer(service.id, destination), [member]);
    }
  for (const { service, realServer, members } of overrides)
    if (!named.has(`${service}/${realServer}`)) add(service, realServer, members);
  return [...named.values()].map((one) => ({ ...one, members: [...one.members.values()] }));
}

/**
 * Decisions as a configuration names what they are about: a real server keeps its state when its address or that of its
 * service changes. What the configuration does not describe stays as it was.
 */
export function resolveOverrides(
  overrides: readonly Override[],
  wanted: Pick<Wanted, 'table' | 'names'>,
): readonly Override[] {
  if (overrides.length === 0) return overrides;
  const described = namedServers(wanted, { services: [] }, []);
  return overrides.map((override) => {
    const now = described.find((one) => isSame(one, override));
    return now ? { ...override, members: now.members } : override;
  });
}

/** Whether two are about the same real server of the same service. */
export const isSame = (
  one: Pick<Named, 'service' | 'realServer'>,
  other: Pick<Named, 'service' | 'realServer'>,
): boolean => one.service === other.service && one.realServer === other.realServer;

/**
 * The real servers a person means by `SERVICE/REAL` or `REAL`, each by name or address. A name comes before an address with
 * port, and that before an address alone. Throws HG_UNKNOWN_NAME.
 */
export function findServers(text: string, all: readonly Named[]): readonly Named[] {
  const slash = text.indexOf('/');
  const [service, real] = slash < 0 ? [undefined, text] : [text.slice(0, slash), text.slice(slash + 1)];
  const inService = service === undefined ? all : all.filter((one) => serviceWords(one).includes(service));
  for (const words of [nameOf, keysOf, addressesOf]) {
    const found = inService.filter((one) => words(one).some((word) => word === canonical(real)));
    if (found.length > 0) return found;
  }
  throw unknown(text, service, real, inService, all);
}

const nameOf = ({ realServer }: Named): string[] => [realServer];
const keysOf = ({ members }: Named): string[] =>
  members.map(({ destination }) => destinationKey(destination));
const addressesOf = ({ members }: Named): string[] => members.map(({ destination }) => destination.address);

/** `web`, `tcp 192.0.2.10:80`, `192.0.2.10:80`, `192.0.2.10`. */
const serviceWords = ({ service, members }: Named): string[] => [
  service,
  ...members.flatMap(({ service: id }) => [
    serviceKey(id),
    ...(id.kind === 'address' ? [destinationKey(id), id.address] : []),
  ]),
];

/** An address as the model writes it; other words as they are. */
function canonical(text: string): string {
  const [, inside, port] = /^\[(.+)\](:\d+)?$/.exec(text) ?? [];
  const address = parseAddress(inside ?? text);
  if (address === undefined) return text;
  return port === undefined ? address : `[${address}]${port}`;
}

function unknown(
  text: string,
  service: string | undefined,
  real: string,
  inService: readonly Named[],
  all: readonly Named[],
): HeadgateError {
  const wrong = (what: string, near: string | undefined) =>
    new HeadgateError(
      'HG_UNKNOWN_NAME',
      `Cannot find "${text}": ${what}`,
      near === undefined ? {} : { hint: `did you mean "${near}"?` },
    );
  if (service !== undefined && inService.length === 0) {
    const near = suggest(service, [...new Set(all.map((one) => one.service))]);
    return wrong(`there is no virtual service "${service}"`, near && `${near}/${real}`);
  }
  const whole = service === undefined && all.find((one) => serviceWords(one).includes(real));
  if (whole) {
    const own = all.filter((one) => one.service === whole.service);
    return wrong(`it is a virtual service, with ${listed(own)}`, `${whole.service}/${whole.realServer}`);
  }
  const near = suggest(
    real,
    inService.flatMap((one) => [...nameOf(one), ...keysOf(one)]),
  );
  const where = service === undefined ? 'no virtual service' : `"${service}"`;
  return wrong(
    `${service === undefined ? `${where} has` : `${where} has no`} real server "${real}"${service === undefined ? '' : `, but ${listed(inService)}`}`,
    near === undefined ? undefined : service === undefined ? near : `${service}/${near}`,
  );
}

const listed = (some: readonly Named[]): string => {
  const names = some.map(({ realServer }) => realServer);
  return names.length > 8
    ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} others`
    : names.join(', ');
};
