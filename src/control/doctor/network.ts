import { familyOf } from '../../model/address.ts';
import {
  addressServices,
  type contains,
  type Finding,
  frontOf,
  ofInterface,
  type Scene,
  virtualAddresses,
} from './finding.ts';

/** Routing and its parameters: what the data plane needs, and what only the traffic beside it does. */
export function networkFindings(scene: Scene): Finding[] {
  if (addressServices(scene).length === 0) return [];
  return [
    ...loopbackSettings(scene),
    ...loopbackDown(scene),
    ...sourceChecks(scene),
    ...forwarding(scene),
    ...redirects(scene),
    ...waysBack(scene),
  ];
}

/** Services that a destination on the director itself serves. */
function servedHere(scene: Scene) {
  return addressServices(scene).filter(({ destinations }) =>
    destinations.some(({ address }) => scene.host.paths.get(address)?.kind === 'local'),
  );
}

/** Services with masqueraded real servers elsewhere. */
function masqueraded(scene: Scene) {
  return addressServices(scene).flatMap(({ service, destinations }) => {
    const away = destinations.filter(
      ({ method, address }) => method === 'masquerade' && scene.host.paths.get(address)?.kind === 'neighbour',
    );
    return away.length > 0 ? [{ service, destinations: away }] : [];
  });
}

/** The program looks routes up from the loopback interface (find_hop in bpf/forward.h). */
function loopbackSettings(scene: Scene): Finding[] {
  const { parameters } = scene.host;
  const families = new Set(virtualAddresses(scene).map(familyOf));
  const needed = [
    ...(families.has(4) ? ['net.ipv4.conf.lo.forwarding'] : []),
    ...(families.has(6) ? ['net.ipv6.conf.lo.forwarding'] : []),
  ].filter((name) => parameters[name] === '0');
  const accepted =
    parameters['net.ipv4.conf.lo.accept_local'] === '0' &&
    parameters['net.ipv4.conf.all.accept_local'] === '0' &&
    servedHere(scene).some(({ service }) => familyOf(service.id.address) === 4);
  return [
    ...needed.map(
      (name): Finding => ({
        id: 'loopback-settings',
        severity: 'broken',
        what: `${name} is 0; whoever writes ip_forward resets it`,
        why: 'the kernel tells the data plane no new next hops; only what it knew goes on',
        fix: `sysctl -w ${name}=1`,
      }),
    ),
    ...(accepted
      ? [
          {
            id: 'loopback-settings',
            severity: 'risky',
            what: 'net.ipv4.conf.lo.accept_local is 0',
            why: 'clients on this host get no answers from real servers on this host',
            fix: 'sysctl -w net.ipv4.conf.lo.accept_local=1',
          } satisfies Finding,
        ]
      : []),
  ];
}

function loopbackDown(scene: Scene): Finding[] {
  const lo = scene.host.interfaces.find(({ loopback }) => loopback);
  const [served] = servedHere(scene);
  if (!lo || lo.up || !served) return [];
  return [
    {
      id: 'loopback-down',
      severity: 'broken',
      what: `${lo.name} is down, and this host is a real server of ${served.service.id.address} itself`,
      why: 'packets to real servers on this host go by it',
      fix: `ip link set ${lo.name} up`,
    },
  ];
}

/**
 * Forwarded packets meet no source check: the program takes them before the kernel's routing. Those it hands to the
 * host do: for real servers on the host itself, and whatever else is sent to a virtual address.
 */
function sourceChecks(scene: Scene): Finding[] {
  const { host } = scene;
  const here = new Set(servedHere(scene).map(({ service }) => service.id.address));
  const seen = new Set<string>();
  return virtualAddresses(scene).flatMap((address): Finding[] => {
    if (familyOf(address) !== 4) return [];
    const front = frontOf(scene, address);
    const back = host.defaultRoutes[4];
    if (front?.rpFilter !== 1 || back.length === 0 || back.includes(front.name)) return [];
    if (seen.has(front.name)) return [];
    seen.add(front.name);
    const served = virtualAddresses(scene).some((one) => here.has(one) && frontOf(scene, one) === front);
    return [
      {
        id: 'rp-filter',
        severity: served ? 'broken' : 'note',
        what: `${front.name} checks sources strictly (rp_filter 1), and the default route is by ${back.join(', ')}`,
        why: served
          ? 'packets of distant clients for real servers on this host are dropped; forwarded ones are not'
          : 'what distant clients send to this host itself is dropped, pings too; virtual services are not',
        fix: `sysctl -w ${ofInterface(front.name, 'rp_filter')}=2`,
      },
    ];
  });
}

function forwarding(scene: Scene): Finding[] {
  const { parameters } = scene.host;
  const switches = { 4: 'net.ipv4.ip_forward', 6: 'net.ipv6.conf.all.forwarding' } as const;
  const families = new Set(masqueraded(scene).map(({ service }) => familyOf(service.id.address)));
  return ([4, 6] as const)
    .filter((family) => families.has(family) && parameters[switches[family]] === '0')
    .map(
      (family): Finding => ({
        id: 'ip-forward',
        severity: 'note',
        what: `${switches[family]} is 0`,
        why: 'virtual services do not need it; what masqueraded real servers open themselves goes no further than this host',
        fix: family === 4 ? 'headgate agent up --method masquerade --director' : `sysctl -w ${switches[6]}=1`,
      }),
    );
}

/** Redirects are sent for what real servers open themselves, and hold for their answers to the same client as well. */
function redirects(scene: Scene): Finding[] {
  const { host } = scene;
  if (host.parameters['net.ipv4.ip_forward'] !== '1') return [];
  const devices = new Set(
    masqueraded(scene).flatMap(({ service, destinations }) =>
      destinations.flatMap(({ address }) => {
        const path = host.paths.get(address);
        const front = frontOf(scene, service.id.address);
        return familyOf(address) === 4 && path?.kind === 'neighbour' && path.device === front?.name
          ? [front]
          : [];
      }),
    ),
  );
  return [...devices]
    .filter(({ sendRedirects }) => sendRedirects)
    .map(
      ({ name }): Finding => ({
        id: 'send-redirects',
        severity: 'risky',
        what: `this host sends ICMP redirects on ${name}, where clients and masqueraded real servers are`,
        why: 'a real server that heeds one answers that client past the director',
        fix: `sysctl -w ${ofInterface('all', 'send_redirects')}=0 ${ofInterface(name, 'send_redirects')}=0`,
      }),
    );
}

function waysBack(scene: Scene): Finding[] {
  const families = new Set(masqueraded(scene).map(({ service }) => familyOf(service.id.address)));
  return ([4, 6] as const)
    .filter((family) => families.has(family) && scene.host.defaultRoutes[family].length === 0)
    .map((family): Finding => {
      const networks = scene.host.interfaces.flatMap(({ addresses, loopback }) =>
        loopback ? [] : addresses.filter((one) => familyOf(one.address) === family && !isHost(one)),
      );
      const router = networks[0]?.address ?? 'GATEWAY';
      return {
        id: 'no-default-route',
        severity: 'note',
        what: `this host has no IPv${family} default route`,
        why: 'answers of masqueraded services reach only clients on networks it has routes to',
        next: `ip ${family === 6 ? '-6 ' : ''}route add default via GATEWAY, on the network of ${router} for instance`,
      };
    });
}

const isHost = (one: Parameters<typeof contains>[0]): boolean =>
  one.prefixLength === (familyOf(one.address) === 4 ? 32 : 128);
