import { familyOf } from '../model/address.ts';
import type { Report } from './report.ts';
import type { FailoverConfiguration } from './schema/configuration.ts';
import type { Path } from './tree.ts';

type Instance = FailoverConfiguration['vrrp'][number];

/** What does not go together in `failover`. `services` are the names of the virtual services. */
export function problemsOfFailover(
  { vrrp, groups, scripts, files, processes, connectionSync }: FailoverConfiguration,
  services: readonly string[],
  report: Report,
): void {
  once(vrrp, ({ name }) => name, ['failover', 'vrrp'], 'name', 'VRRP instance', report);
  once(groups, ({ name }) => name, ['failover', 'groups'], 'name', 'group', report);
  once(scripts, ({ name }) => name, ['failover', 'scripts'], 'name', 'script', report);
  once(files, ({ name }) => name, ['failover', 'files'], 'name', 'file', report);
  once(processes, ({ name }) => name, ['failover', 'processes'], 'name', 'process', report);
  for (const [i, { least, most }] of processes.entries())
    if (most !== undefined && most < least)
      report(['failover', 'processes', i, 'most'], `"most": wanted ${least} or more, found ${most}`);
  once(vrrp, routerOf, ['failover', 'vrrp'], 'routerId', 'virtual router', report);
  for (const [i, instance] of vrrp.entries()) {
    const path = ['failover', 'vrrp', i];
    judgeInstance(instance, path, report);
    const known = {
      trackScripts: scripts.map(({ name }) => name),
      trackServices: services,
      trackFiles: files.map(({ name }) => name),
      trackProcesses: processes.map(({ name }) => name),
    } as const;
    for (const list of ['trackScripts', 'trackServices', 'trackFiles', 'trackProcesses'] as const)
      for (const [t, { name }] of instance[list].entries())
        if (!known[list].includes(name)) report([...path, list, t, 'name'], missing(name, known[list]));
  }
  if (connectionSync?.key !== undefined && connectionSync.keyFile !== undefined)
    report(['failover', 'connectionSync', 'keyFile'], 'wanted either this or "key"');
  const instances = vrrp.map(({ name }) => name);
  for (const [i, group] of groups.entries())
    for (const [n, name] of group.instances.entries())
      if (!instances.includes(name))
        report(['failover', 'groups', i, 'instances', n], missing(name, instances));
}

/** RFC 9568, 1.2: a virtual router is a VRID on a network, IPv4 and IPv6 apart. */
function routerOf(instance: Instance): string {
  return `VRID ${instance.routerId} on ${instance.interface}, IPv${familyOf(instance.addresses[0]!.address)}`;
}

function missing(name: string, known: readonly string[]): string {
  return `"${name}": wanted ${known.length === 0 ? 'one that is described here, but none is' : known.join(', ')}`;
}

function once<Value>(
  values: readonly Value[],
  nameOf: (value: Value) => string,
  path: Path,
  key: string,
  what: string,
  report: Report,
): void {
  const taken = new Set<string>();
  for (const [i, value] of values.entries()) {
    const name = nameOf(value);
    if (taken.has(name)) report([...path, i, key], `${what} "${name}": described twice`);
    taken.add(name);
  }
}

const trackLists = [
  'trackInterfaces',
  'trackScripts',
  'trackServices',
  'trackFiles',
  'trackProcesses',
] as const;

function judgeInstance(instance: Instance, path: Path, report: Report): void {
  const { version, advertisementInterval, authentication, priority } = instance;
  // RFC 9568, 5.2.9: an advertisement carries addresses of one family.
  const first = familyOf(instance.addresses[0]!.address);
  if (instance.addresses.some(({ address }) => familyOf(address) !== first))
    report(
      [...path, 'addresses'],
      '"addresses": wanted one family, found IPv4 and IPv6',
      'give those of one family in "excludedAddresses", or in an instance of their own',
    );
  // RFC 3768, 5.3.10. What advertisements do not name may be of either family.
  if (version === 2 && first === 6)
    report([...path, 'version'], 'VRRP version 2: wanted IPv4 "addresses", found IPv6');
  if (version === 2 && advertisementInterval % 1000 !== 0)
    report(
      [...path, 'advertisementInterval'],
      'VRRP version 2: wanted an interval of whole seconds, found another',
    );
  // RFC 9568, 5.2.7: 12 bits of centiseconds.
  if (version === 3 && (advertisementInterval > 40_950 || advertisementInterval % 10 !== 0))
    report(
      [...path, 'advertisementInterval'],
      'VRRP version 3: wanted an interval of whole hundredths of a second up to 40.95s, found another',
    );
  if (instance.advertiseFromInterface && !instance.virtualMac)
    report([...path, 'advertiseFromInterface'], '"advertiseFromInterface": wanted "virtualMac" with it');
  if (version === 3 && authentication)
    report([...path, 'authentication'], 'VRRP version 3: wanted no authentication, found some');
  if (authentication && Buffer.byteLength(authentication.secret) > 8)
    report([...path, 'authentication', 'secret'], '"secret": wanted at most 8 bytes, found more');
  if (priority === 255 && !instance.preempt)
    report([...path, 'preempt'], '"preempt": wanted true with priority 255, found false');
  for (const list of trackLists)
    for (const [i, { weight }] of instance[list].entries())
      if (priority === 255 && weight !== 0)
        report([...path, list, i, 'weight'], '"weight": wanted none with priority 255, found one');
  for (const [i, peer] of instance.peers.entries())
    if (familyOf(peer) !== first)
      report([...path, 'peers', i], `peer ${peer}: wanted an IPv${first} address, as the virtual ones`);
}
