import { type Address, addressFromBytes, addressToBytes, familyOf } from '../model/address.ts';
import { isSystemError } from '../sys/ffi.ts';
import { addAddress, deleteAddress } from '../sys/netlink/address.ts';
import { linkIndex } from '../sys/netlink/link.ts';
import { addRoute, deleteRoute, type NewRoute } from '../sys/netlink/route.ts';
import { addRule, deleteRule, type Rule } from '../sys/netlink/rule.ts';
import { type Netlink, withNetlink } from '../sys/netlink/socket.ts';

/** An address with the length of its prefix; of a route or rule, a network. */
type Network = { readonly address: Address; readonly length: number };

/** A route that goes with virtual addresses. */
export type HeldRoute = {
  readonly to: Network | 'default';
  readonly via?: Address;
  readonly interface?: string;
  readonly source?: Address;
  readonly table?: number;
  readonly metric?: number;
  readonly type?: 'unicast' | 'blackhole' | 'unreachable' | 'prohibit';
  readonly mtu?: number;
  readonly onLink?: boolean;
  /** Of a `default` that names nobody. */
  readonly family: 4 | 6;
};

/** A rule of policy routing that goes with virtual addresses. */
export type HeldRule = {
  readonly family: 4 | 6;
  readonly priority: number;
  readonly table: number;
  readonly from?: Network;
  readonly to?: Network;
  readonly mark?: number;
  readonly maskOfMark?: number;
  readonly inInterface?: string;
};

/** Everything an instance holds beside its addresses, or a director for as long as it runs. */
export type Paths = {
  readonly routes: readonly HeldRoute[];
  readonly rules: readonly HeldRule[];
  /** Addresses for as long as the director runs. */
  readonly addresses?: readonly (Network & { readonly interface: string })[];
};

export const noPaths: Paths = { routes: [], rules: [] };

/** Who made them, as the kernel notes it: nobody else uses the protocol number of VRRP for that. */
const protocol = 112;
const families = { 4: 'ipv4', 6: 'ipv6' } as const;

/** What one of them was refused for; `what` begins with a verb. */
export type PathFault = (what: string, error: unknown) => void;

/** Puts them in place; what is there stays. One that is refused keeps none of the others away. */
export function putPaths(paths: Paths, failed: PathFault): void {
  each(paths, failed, 'put', {
    address: (netlink, { interface: name, ...one }) =>
      addAddress(netlink, linkIndex(netlink, name), { prefix: text(one), noDad: true }),
    route: (netlink, route) => addRoute(netlink, route, { prepend: true }),
    rule: addRule,
    fine: ['EEXIST'],
  });
}

/** Takes them away; what is not there is gone already. Routes of other programs stay. */
export function takePaths(paths: Paths, failed: PathFault): void {
  each(paths, failed, 'take away', {
    address: (netlink, { interface: name, ...one }) =>
      deleteAddress(netlink, linkIndex(netlink, name), text(one)),
    route: deleteRoute,
    rule: deleteRule,
    fine: ['ESRCH', 'ENOENT', 'ENODEV', 'EADDRNOTAVAIL'],
  });
}

const text = ({ address, length }: Network): string => `${address}/${length}`;

type Work = {
  readonly address: (netlink: Netlink, address: Network & { readonly interface: string }) => void;
  readonly route: (netlink: Netlink, route: NewRoute) => void;
  readonly rule: (netlink: Netlink, rule: Rule) => void;
  readonly fine: readonly string[];
};

function each({ addresses = [], routes, rules }: Paths, failed: PathFault, verb: string, work: Work): void {
  if (addresses.length + routes.length + rules.length === 0) return;
  withNetlink({}, (netlink) => {
    const attempt = (what: string, one: () => void) => {
      try {
        one();
      } catch (error) {
        if (!isSystemError(error, ...work.fine)) failed(`${verb} ${what}`, error);
      }
    };
    for (const one of addresses) attempt(`address ${text(one)}`, () => work.address(netlink, one));
    for (const one of routes)
      attempt(`the route to ${one.to === 'default' ? 'default' : text(one.to)}`, () =>
        work.route(netlink, routeOf(netlink, one)),
      );
    for (const one of rules) attempt(`rule ${one.priority}`, () => work.rule(netlink, ruleOf(one)));
  });
}

function routeOf(
  netlink: Netlink,
  { to, via, interface: name, metric, family, ...rest }: HeldRoute,
): NewRoute {
  return {
    ...rest,
    ...{ destination: to === 'default' ? to : network(to), family: families[family], protocol },
    ...(via !== undefined && { gateway: via }),
    ...(name !== undefined && { index: linkIndex(netlink, name) }),
    ...(metric !== undefined && { priority: metric }),
  };
}

function ruleOf({ family, from, to, ...rest }: HeldRule): Rule {
  return {
    ...rest,
    ...{ family: families[family], protocol },
    ...(from && { source: network(from) }),
    ...(to && { destination: network(to) }),
  };
}

/** The kernel wants no bits behind the prefix. */
function network({ address, length }: Network): string {
  const bytes = addressToBytes(address).map((byte, i) => {
    const bits = Math.min(8, Math.max(0, length - i * 8));
    return byte & (0xff << (8 - bits));
  });
  return `${addressFromBytes(bytes)}/${length}`;
}

/** The family of a route, as its parts say it. */
export const familyOfRoute = (
  { to, via, source }: Pick<HeldRoute, 'to' | 'via' | 'source'>,
  otherwise: 4 | 6,
): 4 | 6 => {
  const one = to === 'default' ? (via ?? source) : to.address;
  return one === undefined ? otherwise : familyOf(one);
};
