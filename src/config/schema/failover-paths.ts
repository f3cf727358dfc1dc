import * as z from 'zod';
import { address, parsePrefix, prefix } from './addresses.ts';
import { flag, integer, key, list, object, parsed, text, word } from './keys.ts';

/** Routes and rules of policy routing that directors hold: those of an instance while it is master, others always. */

export const interfaceName = () =>
  text('the name of an interface, at most 15 signs').regex(/^[^\s/:]{1,15}$/, {
    error: 'wanted the name of an interface, at most 15 signs without blanks, "/" and ":"',
  });

const mostNumber = 2 ** 32 - 1;
/** The kernel's own numbers of tables (include/uapi/linux/rtnetlink.h). */
const tableNames = { default: 253, main: 254, local: 255 } as const;

const table = z
  .union([word('main', 'local', 'default').transform((name) => tableNames[name]), integer(1, mostNumber)], {
    error: `wanted main, local, default or a number from 1 to ${mostNumber}`,
  })
  .meta({ kind: '`main`, `local`, `default` or 1 to 4294967295' });

const destination = parsed(
  '"default", or a network such as 192.0.2.0/24',
  (given) => (given === 'default' ? ('default' as const) : parsePrefix(given)),
  '`default` or address[/length]',
);

const route = object({
  to: key(destination, 'Where it leads.', { examples: ['default', '198.51.100.0/24'] }),
  via: key(address.optional(), 'The next router.', { leftOut: 'none: everybody there is on the link' }),
  interface: key(interfaceName().optional(), 'The interface.', {
    leftOut: 'the one `via` is on, else that of the instance',
  }),
  source: key(address.optional(), 'The address this host speaks from.', { leftOut: 'as the kernel chooses' }),
  table: key(table.default(254), 'The routing table.', { leftOut: 'main' }),
  metric: key(integer(0, mostNumber).optional(), 'The lower one counts.', {
    leftOut: 'as the kernel has it',
  }),
  type: key(
    word('unicast', 'blackhole', 'unreachable', 'prohibit').default('unicast'),
    'What becomes of packets: they are sent on, dropped, or refused.',
  ),
  mtu: key(integer(68, 65_535).optional(), 'The longest packet, bytes.', {
    leftOut: 'that of the interface',
  }),
  onLink: key(flag().default(false), 'Whether `via` is on the link, whatever addresses say.'),
});

const rule = object({
  from: key(prefix.optional(), 'Only packets from here.', { leftOut: 'from anywhere' }),
  to: key(prefix.optional(), 'Only packets to there.', { leftOut: 'to anywhere' }),
  interface: key(interfaceName().optional(), 'Only packets that came in here.', { leftOut: 'any' }),
  mark: key(integer(0, mostNumber).optional(), 'Only packets with this mark.', { leftOut: 'any' }),
  markMask: key(integer(1, mostNumber).optional(), 'The bits of the mark that count.', { leftOut: 'all' }),
  table: key(table, 'The table that is asked.', { examples: [100] }),
  priority: key(integer(1, mostNumber), 'Its place among the rules: lower ones come first.', {
    examples: [1000],
  }),
  family: key(word('ipv4', 'ipv6').optional(), 'Of a rule that names no address.', { leftOut: 'IPv4' }),
});

export const routes = (when: string) =>
  key(list(route, 'routes').default([]), `Routes that are there ${when}.`);
export const rules = (when: string) =>
  key(list(rule, 'rules').default([]), `Rules of policy routing that are there ${when}.`);

/** keepalived's static_ipaddress, static_routes and static_rules. */
export const always = object({
  addresses: key(
    list(
      object({
        address: key(prefix, 'The address.', { examples: ['192.0.2.1/24'] }),
        interface: key(interfaceName(), 'The interface that has it.', { examples: ['eth0'] }),
      }),
      'addresses',
    ).default([]),
    'Addresses.',
  ),
  routes: routes('all the time'),
  rules: rules('all the time'),
});
