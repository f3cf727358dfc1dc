import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type {
  Configuration,
  RealServerConfiguration,
  ServiceConfiguration,
} from '../config/schema/configuration.ts';

/** What a configuration says beside the rules of its table: names, checks, quorums, failover, alerts. */
export type Settings = {
  /** A short word that is another one where any of it is another. */
  fingerprint(): string;
  /** All of it; empty where nobody knows any more. */
  parts(): readonly Part[];
};

/** What settings are about: a service, one of its real servers, failover, alerts, or the configuration itself. */
export type Part = {
  /** What it is known by in another configuration. */
  readonly key: string;
  readonly what: string;
  readonly settings: Said;
};

/** By key, in the order of the schema, however they were written. */
type Said = Readonly<Record<string, unknown>>;

/** A change of settings, told to a person as a step of the rules is. */
export type SettingStep = { readonly sign: '~'; readonly what: string; readonly detail: string };

/** The settings of a configuration. */
export function settingsOf(configuration: Configuration): Settings {
  const { virtualServices } = configuration;
  let fingerprint: string | undefined;
  return {
    fingerprint() {
      fingerprint ??= digest([generalSettings(configuration), virtualServices.map(serviceDigest)]);
      return fingerprint;
    },
    parts: () => [
      ...Object.entries(generalSettings(configuration)).map(([what, said]) => partOf(what, what, said)),
      ...virtualServices.flatMap(serviceParts),
    ],
  };
}

/** Settings of which only the fingerprint was kept, and perhaps the configuration can be read again. */
export const settingsKept = (fingerprint: string, read: () => Configuration | undefined): Settings => ({
  fingerprint: () => fingerprint,
  parts() {
    const configuration = read();
    return configuration ? settingsOf(configuration).parts() : [];
  },
});

/** Whether settings are the same, as far as anybody knows. */
export const equalSettings = (a: string | undefined, b: Settings | undefined): boolean =>
  a === undefined || b === undefined || a === b.fingerprint();

/** What differs in what both are about; what only one of them has, its rules tell. Values that may be secrets are not told. Pure. */
export function settingSteps(before: Settings | undefined, after: Settings | undefined): SettingStep[] {
  if (!before || !after || equalSettings(before.fingerprint(), after)) return [];
  const earlier = new Map(before.parts().map((part) => [part.key, part]));
  return after.parts().flatMap(({ key, what, settings }): SettingStep[] => {
    const other = earlier.get(key)?.settings;
    const changed = other ? differing(other, settings) : [];
    if (!other || changed.length === 0) return [];
    const detail = changed.map((name) => differenceOf(name, other[name], settings[name])).join(', ');
    return [{ sign: '~', what, detail }];
  });
}

/** A number or a switch with its values; of anything else, which keys of it are others. */
function differenceOf(name: string, before: unknown, after: unknown): string {
  if (isPlain(before) && isPlain(after)) return `${name} ${before} -> ${after}`;
  const [a, b] = [only(before), only(after)];
  return isRecord(a) && isRecord(b) ? `${name} (${differing(a, b).join(', ')})` : name;
}

const isPlain = (value: unknown): value is number | boolean =>
  typeof value === 'number' || typeof value === 'boolean';

/** A list of one is told as that one. */
const only = (value: unknown): unknown => (Array.isArray(value) && value.length === 1 ? value[0] : value);

const isRecord = (value: unknown): value is Said =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function differing(a: Said, b: Said): string[] {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return [...names].filter((name) => !isDeepStrictEqual(a[name], b[name]));
}

/** Timeouts that are left out stay as they are, so they are compared with the rules. */
function generalSettings(all: Configuration): Readonly<Record<string, object>> {
  const { include, timeouts, virtualServices, failover = {}, alerts = {}, ...configuration } = all;
  return { configuration, failover, alerts };
}

function serviceParts(service: ServiceConfiguration): Part[] {
  const { name, address, fwmark, family, realServers } = service;
  const key = JSON.stringify(fwmark === undefined ? address : [fwmark, family]);
  return [
    partOf(key, name, serviceSettings(service)),
    ...realServers.map((realServer) => {
      const { address: host, port } = realServer.address;
      const place = port === undefined ? host : `${host}:${port}`;
      const what = `${name}/${realServer.name ?? place}`;
      return partOf(`${key} ${place}`, what, realServerSettings(realServer));
    }),
  ];
}

/** A key that is left out, and a list of nobody, say nothing. */
function partOf(key: string, what: string, said: object): Part {
  const settings = Object.entries(said).filter(
    ([, value]) => value !== undefined && !(Array.isArray(value) && value.length === 0),
  );
  return { key, what, settings: Object.fromEntries(settings) };
}

/** But for what its rules show. */
function serviceSettings(service: ServiceConfiguration): object {
  const { address, fwmark, family, scheduler, schedulerFlags, persistence, onePacket, ...others } = service;
  const { whenGone, method, tunnel, fullNat, realServers, ...settings } = others;
  return settings;
}

function realServerSettings(realServer: RealServerConfiguration): object {
  const { address, weight, upperThreshold, lowerThreshold, method, tunnel, fullNat, ...settings } =
    realServer;
  return settings;
}

const digests = new WeakMap<ServiceConfiguration, string>();

/** The same service has the same: of thousands, few are others from one reading to the next. */
function serviceDigest(service: ServiceConfiguration): string {
  const found =
    digests.get(service) ??
    digest([
      [service.address, service.fwmark, service.family, serviceSettings(service)],
      service.realServers.map((one) => [one.address, realServerSettings(one)]),
    ]);
  digests.set(service, found);
  return found;
}

const digest = (value: unknown): string =>
  createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 32);
