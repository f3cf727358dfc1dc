import * as z from 'zod';
import {
  clientAddressWords,
  methodNames,
  mostLocalAddresses,
  schedulerNames,
  whenGoneWords,
} from '../../model/virtual-service.ts';
import { address, endpoint, parseMask, virtualAddress } from './addresses.ts';
import { agent } from './agent.ts';
import { check } from './check.ts';
import { flag, integer, key, list, name, object, parsed, program, seconds, text, word } from './keys.ts';

const intMax = 2 ** 31 - 1;
const defaultPersistenceSeconds = 360;

const method = () => word(...methodNames);

const tunnel = object({
  type: key(word('ipip', 'gue', 'gre').default('ipip'), 'Encapsulation.'),
  port: key(integer(1, 65_535).optional(), 'UDP port real servers take it at.', {
    leftOut: 'needed with `gue`, not allowed with others',
  }),
  checksum: key(
    word('none', 'checksum', 'remote').default('none'),
    'Checksum of the outer header: none, a full one, or remote checksum offload.',
  ),
});

const fullNat = object({
  localAddresses: key(
    list(address, 'addresses')
      .max(mostLocalAddresses, { error: `wanted at most ${mostLocalAddresses} addresses` })
      .default([]),
    'Addresses of the director that real servers see in place of the client’s, of the family of the real server. Each has some 30,000 ports for each real server.',
    {
      examples: [['10.0.0.2', '10.0.0.3']],
      leftOut: 'the address that the route to the real server prefers',
    },
  ),
  clientAddress: key(
    word(...clientAddressWords).default('hidden'),
    'How real servers hear of the client: not at all, by a TCP option (kind 254) in the first segments, or by the PROXY protocol before the first byte, which only the proxy data plane can send.',
  ),
});

const persistence = object({
  timeout: key(
    seconds(1, 31 * 86_400).default(defaultPersistenceSeconds),
    'How long a client stays with its real server after its last connection.',
    { examples: ['5m'], leftOut: '6m' },
  ),
  netmask: key(
    z
      .union([integer(1, 32), parsed('a netmask such as 255.255.255.0', parseMask, 'netmask')], {
        error: 'wanted a prefix length from 1 to 32, or a netmask such as 255.255.255.0',
      })
      .default(32),
    'IPv4 clients of one network are one client: the length of its prefix, or its netmask.',
    { examples: [24, '255.255.255.0'], kind: '1 to 32, or netmask', leftOut: '32' },
  ),
  netmask6: key(integer(1, 128).default(128), 'The same for IPv6 clients: the length of the prefix.', {
    examples: [64],
  }),
  engine: key(
    word('sip').optional(),
    'What tells one client from another: `sip` takes the Call-ID of SIP over UDP.',
    { leftOut: 'the client’s address' },
  ),
});

/** One check or a list of them: once read, always a list. */
const severalChecks = list(check, 'checks').min(1, { error: 'wanted one check or more' });
const everyCheck = 'With a list of checks it is usable while all of them are good.';

const hook = (description: string) =>
  key(
    program().optional(),
    `${description} The program with its arguments, without a shell; it has 30 seconds.`,
    { examples: [['/usr/local/bin/tell-people']], leftOut: 'nothing is run' },
  );

const common = {
  method: key(method().optional(), 'How packets reach it.', { leftOut: 'the method of the service' }),
  tunnel: key(tunnel.optional(), 'Encapsulation of the method `tunnel`.', {
    leftOut: 'that of the service, else ipip',
  }),
  fullNat: key(fullNat.optional(), 'Settings of the method `full-nat`.', {
    leftOut: 'those of the service',
  }),
};

/** A real server behind a virtual service. */
export const realServer = object({
  name: key(name().optional(), 'What commands and listings call it.', {
    examples: ['web1'],
    leftOut: 'its address and port',
  }),
  address: key(
    endpoint,
    'Where it listens. Only the methods `masquerade` and `full-nat` can change the port, so with the others it may be left out.',
    { examples: ['10.0.0.11:8080', '[2001:db8::11]:8080'] },
  ),
  weight: key(
    integer(0, 65_535).default(1),
    'Its share, relative to the other weights. With 0 it gets no new connections and keeps those it has.',
    { examples: [3] },
  ),
  ...common,
  upperThreshold: key(
    integer(0, intMax).default(0),
    'Connections, active and inactive, from which it gets no new ones; 0 is no limit.',
    { examples: [2000] },
  ),
  lowerThreshold: key(
    integer(0, intMax).default(0),
    'Connections below which it gets new ones again; 0 is three quarters of the upper threshold.',
  ),
  check: key(
    z
      .union([check, severalChecks, z.literal('none')], {
        error: 'wanted keys and values, a list of checks, or none',
      })
      .transform((value) => (typeof value === 'string' || Array.isArray(value) ? value : [value]))
      .optional(),
    `Its own check, or \`none\`. ${everyCheck}`,
    {
      leftOut: 'the check of the service',
      kind: '[check](#check), a list of them, or `none`',
    },
  ),
  agent: key(
    z.union([agent, z.literal('none')], { error: 'wanted keys and values, or none' }).optional(),
    'Its own agent, or `none`.',
    { leftOut: 'the agent of the service', kind: '[agent](#agent), or `none`' },
  ),
  onUp: hook('Run when checks bring it back.'),
  onDown: hook('Run when checks take it out.'),
});

const sorryServer = object({
  address: key(endpoint, 'Where it listens.', { examples: ['10.0.0.99:80'] }),
  ...common,
});

/** A virtual service: what clients reach, and who serves it. */
export const virtualService = object({
  name: key(name(), 'What commands, listings and metrics call it.', { examples: ['web'] }),
  address: key(
    z
      .union(
        [virtualAddress, list(virtualAddress, 'addresses').min(1, { error: 'wanted one address or more' })],
        { error: 'wanted an address with its port, such as 192.0.2.10:80, or a list of them' },
      )
      .transform((value) => (Array.isArray(value) ? value : [value]))
      .optional(),
    'Where clients reach it: one address or a list. The protocol is tcp, udp or sctp, tcp when it is left out; `*` is every port and needs persistence. Each address is a service of its own in the data plane and has the real servers of its address family; those of the method `tunnel` that match no address serve every one.',
    {
      examples: ['192.0.2.10:80', ['192.0.2.10:53/udp', '192.0.2.10:53/tcp']],
      kind: 'address:port[/protocol], or a list',
      leftOut: 'give `fwmark`',
    },
  ),
  fwmark: key(
    integer(1, 2 ** 32 - 1).optional(),
    'Instead of an address: packets that the firewall has given this mark.',
    { examples: [7], leftOut: 'give `address`' },
  ),
  family: key(word('ipv4', 'ipv6', 'both').default('ipv4'), 'With `fwmark`: the packets it takes.'),
  scheduler: key(word(...schedulerNames).default('wlc'), 'Who gets the next connection.', {
    examples: ['wrr'],
  }),
  schedulerFlags: key(
    list(word('fallback', 'port', 'flag-1', 'flag-2', 'flag-3'), 'flags').default([]),
    'Flags of the scheduler. `sh` and `mh`: `fallback` takes another real server where the chosen one has weight 0 or is overloaded, `port` hashes the port as well.',
    { examples: [['fallback', 'port']], kind: 'list of `fallback`, `port`, `flag-1`, `flag-2`, `flag-3`' },
  ),
  method: key(method().default('direct-routing'), 'How packets reach the real servers.'),
  tunnel: key(tunnel.optional(), 'Encapsulation of the method `tunnel`.', { leftOut: 'ipip' }),
  fullNat: key(fullNat.optional(), 'Settings of the method `full-nat`.', {
    leftOut: 'the address that the route prefers, the client hidden',
  }),
  persistence: key(
    z
      .union([persistence, seconds(1, 31 * 86_400)], {
        error: 'wanted a duration such as 5m, or keys and values',
      })
      .transform((value) =>
        typeof value === 'number' ? { timeout: value, netmask: 32, netmask6: 128, engine: undefined } : value,
      )
      .optional(),
    'Connections of one client stay with one real server: the timeout, or more about it.',
    { examples: ['5m', { timeout: '5m', netmask: 24 }], leftOut: 'none' },
  ),
  onePacket: key(
    flag().default(false),
    'UDP: each datagram is scheduled on its own, no connection is remembered.',
  ),
  whenGone: key(
    word(...whenGoneWords).default('expire'),
    'What becomes of connections whose real server is taken out, by a check or by a person. `drop`: their packets are dropped in silence until they expire, as IPVS does it. `keep`: they go on to it. `expire`: each ends with the client’s next packet, and one that may open a connection goes to another real server at once. `reset`: each ends with the client’s next packet, and both ends are told.',
    { examples: ['reset'] },
  ),
  check: key(
    z
      .union([check, severalChecks], { error: 'wanted keys and values, or a list of checks' })
      .transform((value) => (Array.isArray(value) ? value : [value]))
      .optional(),
    `How each of its real servers is checked. ${everyCheck}`,
    { leftOut: 'not at all', kind: '[check](#check), or a list of them' },
  ),
  agent: key(
    agent.optional(),
    'A program on each of its real servers that says how it stands: its share of the weight, drain, maintenance, down.',
    { leftOut: 'nobody is asked' },
  ),
  checkLog: key(
    text('a path').regex(/^\//, { error: 'wanted a path that begins with /' }).optional(),
    'A file that gets a line for each result of its checks, from the daemon: `[Thu Jan  1 00:00:00 1970] [PID] http tcp 10.0.0.11 80 [up] 200 OK`.',
    { examples: ['/var/log/web.checks'], leftOut: 'none' },
  ),
  quorum: key(
    integer(1, intMax).default(1),
    'Sum of the weights of usable real servers below which the sorry server takes over.',
  ),
  hysteresis: key(
    integer(0, intMax).default(0),
    'How far above the quorum that sum must rise, and below it fall, for a change. Less than the quorum.',
  ),
  realServers: key(list(realServer, 'real servers').default([]), 'Who serves it.'),
  sorryServer: key(sorryServer.optional(), 'Who answers while too few real servers are usable.', {
    leftOut: 'nobody',
  }),
  onQuorumUp: hook('Run when enough real servers are usable again.'),
  onQuorumDown: hook('Run when too few are.'),
  downOnStop: key(
    flag().default(false),
    'When forwarding ends with the daemon (`headgate run --stop-forwarding`), `onDown` is run for each real server that is up, then `onQuorumDown`, and alerts are sent.',
  ),
});
