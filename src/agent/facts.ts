import { type Address, familyOf } from '../model/address.ts';
import type { Intent } from './intent.ts';
import type { Fact } from './resource.ts';

/** What the rules need to know about the host. */
export type Host = {
  readonly interfaces: readonly HostInterface[];
  /** Unicast routes of the main table through one interface. */
  readonly routes: readonly HostRoute[];
  /** A kernel parameter; undefined where the kernel has none of that name. */
  sysctl(name: string): string | undefined;
  /** The interface on whose network an address is. */
  deviceTo(address: Address): string;
};

export type HostInterface = { readonly name: string; readonly mtu: number; readonly loopback: boolean };

export type HostRoute = {
  readonly family: 'ipv4' | 'ipv6';
  readonly destination: string;
  readonly device: string;
  readonly priority: number;
  /** Learnt from a router advertisement, which renews it by itself. */
  readonly advertised: boolean;
};

/** The largest outer header of an IP-in-IP tunnel (IPv6), and the inner headers of TCP without options. */
const outerHeaderBytes = 40;
const innerHeaderBytes = { ipv4: 20 + 20, ipv6: 40 + 20 } as const;

/** Routes of this priority win over those of DHCP and router advertisements; for IPv6, 0 would mean 1024. */
const gatewayPriority = { ipv4: 0, ipv6: 1 } as const;

/** The name of an interface's parameter as sysctl(8) takes it: a dot in the interface's name becomes a slash. */
const ofInterface = (family: 'ipv4' | 'ipv6', device: string, parameter: string): string =>
  `net.${family}.conf.${device.replaceAll('.', '/')}.${parameter}`;

/** Everything that must hold on the host for the intent, in the order to bring it about. */
export function factsOf(intent: Intent, host: Host): Fact[] {
  if (intent.role === 'director') return directorFacts(intent, host);
  if (intent.method === 'masquerade') return gatewayFacts(intent, host);
  return [
    { resource: { kind: 'link', device: 'lo' }, want: 'up' },
    ...silenceFacts(intent.vips),
    ...sourceCheckFacts(intent.vips, host),
    ...(intent.method === 'tunnel' ? tunnelFacts(intent.vips, host) : []),
    ...intent.vips.map((vip): Fact => ({ resource: vipOn('lo', vip), want: 'present' })),
  ];
}

const vipOn = (device: string, vip: Address) =>
  ({ kind: 'address', device, prefix: `${vip}/${familyOf(vip) === 4 ? 32 : 128}` }) as const;

const hasIpv4 = (vips: readonly Address[]) => vips.some((vip) => familyOf(vip) === 4);
const hasIpv6 = (vips: readonly Address[]) => vips.some((vip) => familyOf(vip) === 6);

/**
 * ARP requests for a virtual address are not answered, and none is sent from it (Documentation/networking/ip-sysctl.rst:
 * the larger of `all` and the interface's own counts). IPv6 answers for an address only on the interface that has it
 * (ndisc_recv_ns, net/ipv6/ndisc.c), so lo is silent by itself.
 */
function silenceFacts(vips: readonly Address[]): Fact[] {
  if (!hasIpv4(vips)) return [];
  // 2 and 8 answer less still; 3 speaks of addresses of host scope, which ours are not.
  const silent = (text: string) => ['1', '2', '8'].includes(text);
  return ['all', 'lo'].flatMap((device): Fact[] => [
    { resource: { kind: 'sysctl', name: `net.ipv4.conf.${device}.arp_ignore` }, want: '1', accepts: silent },
    { resource: { kind: 'sysctl', name: `net.ipv4.conf.${device}.arp_announce` }, want: '2' },
  ]);
}

/**
 * Clients' packets come in from the director. Where the way back to clients is through another interface, a strict
 * source check (1) drops them; the loose one (2) asks only that there be a way. The larger of `all` and the
 * interface's own counts.
 */
function sourceCheckFacts(vips: readonly Address[], host: Host): Fact[] {
  if (!hasIpv4(vips)) return [];
  const waysBack = new Set(
    host.routes
      .filter(({ family, destination }) => family === 'ipv4' && destination === 'default')
      .map(({ device }) => device),
  );
  const everywhere = Number(host.sysctl('net.ipv4.conf.all.rp_filter') ?? 0);
  return host.interfaces
    .filter(({ name, loopback }) => !loopback && !waysBack.has(name))
    .map(({ name }) => ofInterface('ipv4', name, 'rp_filter'))
    .filter((parameter) => host.sysctl(parameter) !== undefined)
    .map(
      (name): Fact => ({
        resource: { kind: 'sysctl', name },
        want: '2',
        accepts: (text) => Math.max(everywhere, Number(text)) !== 1,
      }),
    );
}

/**
 * What clients send comes with a header more: the host asks for segments that leave room for it. Routes of router
 * advertisements are left to them.
 */
function tunnelFacts(vips: readonly Address[], host: Host): Fact[] {
  const families = [...(hasIpv4(vips) ? ['ipv4'] : []), ...(hasIpv6(vips) ? ['ipv6'] : [])];
  const segments = host.routes
    .filter(({ family, advertised }) => families.includes(family) && !advertised)
    .flatMap((route): Fact[] => {
      const { family, destination, device, priority } = route;
      const link = host.interfaces.find(({ name }) => name === device);
      if (link === undefined || link.loopback || destination.startsWith('fe80:')) return [];
      const bytes = link.mtu - outerHeaderBytes - innerHeaderBytes[family];
      return [
        {
          resource: { kind: 'segment-size', family, destination, device, priority },
          want: String(bytes),
          accepts: (text) => Number(text) <= bytes,
        },
      ];
    });
  return [{ resource: { kind: 'decapsulation' }, want: [...vips].sort().join(' ') }, ...segments];
}

/** Replies go back through the director, and no redirect leads them past it. */
function gatewayFacts({ gateways }: Intent, host: Host): Fact[] {
  return gateways.flatMap((gateway): Fact[] => {
    const family = familyOf(gateway) === 4 ? 'ipv4' : 'ipv6';
    const device = host.deviceTo(gateway);
    // IPv4 takes redirects where either of the two allows it; for IPv6 the interface's own decides.
    const redirects = (family === 'ipv4' ? ['all', device] : [device]).map((name) =>
      ofInterface(family, name, 'accept_redirects'),
    );
    return [
      ...redirects.map((name): Fact => ({ resource: { kind: 'sysctl', name }, want: '0' })),
      {
        resource: { kind: 'default-route', family, priority: gatewayPriority[family] },
        want: `via ${gateway} dev ${device}`,
      },
    ];
  });
}

/**
 * The director forwards what real servers send on their own account and does not tell them of shorter ways: on one
 * network with the clients they would then answer past it. IPv6 only where a virtual address is of it: a host that
 * forwards IPv6 takes router advertisements no longer, unless accept_ra is 2.
 */
function directorFacts({ vips, outgoing }: Intent, host: Host): Fact[] {
  const names = host.interfaces.filter(({ loopback }) => !loopback).map(({ name }) => name);
  const six = hasIpv6(vips);
  const sysctl = (name: string, want: string, accepts?: (text: string) => boolean): Fact[] =>
    host.sysctl(name) === undefined
      ? []
      : [{ resource: { kind: 'sysctl', name }, want, ...(accepts && { accepts }) }];
  const families = six ? (['ipv4', 'ipv6'] as const) : (['ipv4'] as const);
  return [
    // First: a kernel that cannot do it refuses before anything is changed.
    ...(outgoing === undefined
      ? []
      : families.map(
          (family): Fact => ({
            resource: { kind: 'masquerading', family, device: outgoing },
            want: 'present',
          }),
        )),
    ...(six
      ? names.flatMap((name) => sysctl(ofInterface('ipv6', name, 'accept_ra'), '2', (text) => text !== '1'))
      : []),
    ...sysctl('net.ipv4.ip_forward', '1'),
    ...(six ? sysctl('net.ipv6.conf.all.forwarding', '1') : []),
    // Either of `all` and the interface's own is enough to send them, so both are cleared.
    ...['all', ...names].flatMap((name) => sysctl(ofInterface('ipv4', name, 'send_redirects'), '0')),
  ];
}
