import {
  type Address,
  familyOf,
  isLinkLocal,
  isLoopback,
  isUnicast,
  parseAddress,
} from '../model/address.ts';
import { HeadgateError } from '../model/errors.ts';

const agentMethods = ['direct-routing', 'tunnel', 'masquerade'] as const;
export type AgentMethod = (typeof agentMethods)[number];

/** What this host is to be set up as. */
export type Intent = {
  readonly role: 'real-server' | 'director';
  readonly method: AgentMethod;
  /** Held by a real server without ARP (direct routing, tunnel); otherwise only their families count. */
  readonly vips: readonly Address[];
  /** Masquerade, real server: the director's addresses, at most one of each family. */
  readonly gateways: readonly Address[];
  /** Director: the interface through which connections that real servers open get the director's address. */
  readonly outgoing?: string;
};

/** The command line's words. */
export type IntentWords = {
  readonly vip?: readonly string[] | undefined;
  readonly method?: string | undefined;
  readonly gateway?: readonly string[] | undefined;
  readonly director?: boolean | undefined;
  readonly masqueradeOutgoing?: string | undefined;
};

const refuse = (sentence: string, hint: string): HeadgateError =>
  new HeadgateError('HG_USAGE', `Cannot set up this host: ${sentence}`, { hint });

const addressHint = 'give addresses such as 192.0.2.10 or 2001:db8::10';
const gatewayHint = "add --gateway with the director's address on the real servers' network";

/** Reads what is wanted. Throws HG_USAGE: unknown method, wrong or missing addresses, options that do not go together. */
export function readIntent(words: IntentWords): Intent {
  const { director = false, masqueradeOutgoing: outgoing } = words;
  const method = agentMethods.find((name) => name === words.method);
  if (method === undefined) {
    const found = words.method === undefined ? 'none' : `"${words.method}"`;
    throw refuse(
      `wanted --method with one of ${agentMethods.join(', ')}, found ${found}`,
      'for instance: headgate agent up --vip 192.0.2.10 --method direct-routing',
    );
  }
  const vips = addresses(words.vip, 'virtual address');
  const gateways = addresses(words.gateway, 'gateway');
  if (director && method !== 'masquerade')
    throw refuse(
      `wanted --director with masquerade, found ${method}`,
      'a director needs nothing else for it',
    );
  if (outgoing !== undefined && !director)
    throw refuse('wanted --masquerade-outgoing with --director', 'add --director, or leave it out');
  if (gateways.length > 0 && (director || method !== 'masquerade'))
    throw refuse(
      `wanted --gateway only on a real server of masquerade, found it with ${director ? '--director' : method}`,
      'leave --gateway out',
    );
  if (method !== 'masquerade' && vips.length === 0)
    throw refuse(`wanted a virtual address for ${method}, found none`, 'add --vip ADDRESS');
  if (method === 'masquerade' && !director) refuseGateways(vips, gateways);
  return {
    role: director ? 'director' : 'real-server',
    method,
    vips,
    gateways,
    ...(outgoing === undefined ? {} : { outgoing }),
  };
}

function refuseGateways(vips: readonly Address[], gateways: readonly Address[]): void {
  if (gateways.length === 0) throw refuse('wanted a gateway for masquerade, found none', gatewayHint);
  for (const family of [4, 6] as const) {
    const found = gateways.filter((gateway) => familyOf(gateway) === family);
    if (found.length > 1)
      throw refuse(
        `wanted one gateway of IPv${family}, found "${found.join('" and "')}"`,
        'leave one of them out',
      );
    const vip = vips.find((address) => familyOf(address) === family);
    if (vip !== undefined && found.length === 0)
      throw refuse(
        `wanted a gateway of IPv${family} for "${vip}", found only "${gateways.join('", "')}"`,
        gatewayHint,
      );
  }
}

/** Different addresses that a host can have and a client reach. */
function addresses(texts: readonly string[] = [], what: string): Address[] {
  const read = texts.map((text) => {
    const address = parseAddress(text);
    if (address === undefined)
      throw refuse(`${what} "${text}": wanted an IPv4 or IPv6 address without a length`, addressHint);
    const kind = isLoopback(address)
      ? 'a loopback address'
      : isLinkLocal(address)
        ? 'a link-local address'
        : isUnicast(address)
          ? undefined
          : 'an address of no single host';
    if (kind !== undefined)
      throw refuse(`${what} "${text}": wanted an address clients can reach, found ${kind}`, addressHint);
    return address;
  });
  return [...new Set(read)];
}
