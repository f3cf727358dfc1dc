import { address, prefix } from './addresses.ts';
import { always, interfaceName, routes, rules } from './failover-paths.ts';
import { notify, processes, runAs, trackedFile, trackFile } from './failover-programs.ts';
import { duration, flag, integer, key, list, name, object, program, seconds, text, word } from './keys.ts';

const hour = 3_600_000;
const authentication = object({
  type: key(word('password', 'ah'), 'VRRP version 2: a password in clear, or an authentication header.'),
  secret: key(text(), `The secret, at most 8 bytes; best from the environment: \`"\${VRRP_SECRET}"\`.`),
});

const announce = object({
  repeat: key(
    integer(1, 60).default(5),
    'Gratuitous ARP and neighbour advertisements at a take-over, and again an advertisement interval later.',
  ),
  delay: key(duration(0, hour).default(5_000), 'When they are sent once more; 0s: never.', { leftOut: '5s' }),
  refresh: key(duration(0, 24 * hour).default(0), 'How often a master sends them again; 0s: never.', {
    leftOut: '0s',
  }),
});

const weighted = (description: string) => ({
  name: key(text(), description),
  weight: key(
    integer(-253, 253).default(0),
    'Added to the priority: a positive one while it is well, a negative one while it is not. 0: the instance gives up.',
  ),
  reverse: key(
    flag().default(false),
    'Whether the weight counts the other way round; with weight 0 the instance gives up while it is well.',
  ),
});

const vrrpInstance = object({
  name: key(name(), 'What commands, listings and metrics call it.', { examples: ['front'] }),
  interface: key(interfaceName(), 'Where advertisements go.', { examples: ['eth0'] }),
  routerId: key(integer(1, 255), 'The virtual router (VRID); the same on both directors.', {
    examples: [51],
  }),
  version: key(integer(2, 3).default(3), 'The version of VRRP.'),
  priority: key(integer(1, 255).default(100), 'The higher one is master; 255 owns the addresses.', {
    examples: [150],
  }),
  initial: key(word('backup', 'master').default('backup'), 'The state it starts in.'),
  advertisementInterval: key(duration(10, 255_000).default(1_000), 'From one advertisement to the next.', {
    examples: ['100ms'],
    leftOut: '1s',
  }),
  addresses: key(
    list(prefix, 'addresses').min(1, { error: 'wanted one address or more' }),
    'The virtual addresses it moves. Without a length the address alone.',
    { examples: [['192.0.2.10/24', '192.0.2.11']], kind: 'list of address[/length]' },
  ),
  excludedAddresses: key(
    list(prefix, 'addresses').default([]),
    'More of them, which advertisements do not name.',
    { kind: 'list of address[/length]' },
  ),
  routes: routes('while it is master'),
  rules: rules('while it is master'),
  accept: key(
    flag().default(true),
    'Whether a master takes what is sent to the addresses themselves, and not to a virtual service (RFC 9568, 6.1).',
  ),
  preempt: key(flag().default(true), 'Whether it takes over from a master of lower priority.'),
  preemptDelay: key(duration(0, hour).default(0), 'How long it waits before it does.', { leftOut: '0s' }),
  source: key(address.optional(), 'The address advertisements come from.', {
    leftOut: 'the first one of the interface',
  }),
  peers: key(list(address, 'addresses').default([]), 'Directors that get advertisements by unicast.', {
    leftOut: 'multicast',
    kind: 'list of addresses',
  }),
  rival: key(
    word('defend', 'yield').default('defend'),
    'When another director goes on as master with a lower priority: `defend` stays and says so, `yield` stands back.',
  ),
  virtualMac: key(
    flag().default(false),
    'Whether the addresses have the MAC address of the virtual router (RFC 9568, 7.3), and advertisements come from it.',
  ),
  advertiseFromInterface: key(
    flag().default(false),
    'With `virtualMac`: whether advertisements have the MAC address of the interface all the same.',
  ),
  authentication: key(authentication.optional(), 'Version 2 only.', { leftOut: 'none' }),
  announce: key(announce.optional(), 'How the network is told.', { leftOut: 'as below' }),
  trackInterfaces: key(
    list(object(weighted('The interface that must be up.')), 'interfaces').default([]),
    'Interfaces whose loss counts.',
  ),
  trackScripts: key(
    list(object(weighted('A script of `failover.scripts`.')), 'scripts').default([]),
    'Scripts whose failure counts.',
  ),
  trackServices: key(
    list(object(weighted('A virtual service.')), 'virtual services').default([]),
    'Virtual services whose loss counts.',
  ),
  trackFiles: key(list(trackedFile, 'files').default([]), 'Files with a number that counts.'),
  trackProcesses: key(
    list(object(weighted('An entry of `failover.processes`.')), 'processes').default([]),
    'Processes of this host that must run.',
  ),
  notify: key(notify.optional(), 'Programs that are run when it changes its state.', { leftOut: 'none' }),
});

const script = object({
  name: key(name(), 'What `trackScripts` calls it.', { examples: ['gateway'] }),
  command: key(program(), 'The program with its arguments, without a shell. Exit code 0 is good.', {
    examples: [['/usr/bin/ping', '-c1', '192.0.2.1']],
  }),
  interval: key(duration(10, hour).default(1_000), 'From one run to the next.', { leftOut: '1s' }),
  timeout: key(duration(10, hour).default(1_000), 'When it is ended; that counts as a failure.', {
    leftOut: '1s',
  }),
  rise: key(integer(1, 1000).default(1), 'Good results in a row that make it good.'),
  fall: key(integer(1, 1000).default(1), 'Bad results in a row that make it bad.'),
  ...runAs('that of `failover`'),
});

const group = object({
  name: key(name(), 'Its name.'),
  instances: key(list(text(), 'names').min(2, { error: 'wanted two names or more' }), 'VRRP instances.', {
    examples: [['front', 'back']],
  }),
  notify: key(notify.optional(), 'Programs that are run when all of it has changed its state.', {
    leftOut: 'none',
  }),
});

const connectionSync = object({
  interface: key(interfaceName(), 'Where connections are told to the other directors.', {
    examples: ['eth1'],
  }),
  role: key(
    word('auto', 'master', 'backup', 'both').default('auto'),
    '`auto`: as the VRRP instances say. `both` sends and receives.',
  ),
  id: key(integer(0, 255).default(0), 'Directors of one id listen to each other.'),
  group: key(address.optional(), 'The multicast group, or the address of the one other director.', {
    leftOut: '224.0.0.81',
  }),
  port: key(integer(1, 65_535).default(8848), 'The UDP port.'),
  ttl: key(integer(1, 255).default(1), 'Hop limit of multicast.'),
  maxLength: key(integer(68, 65_535).optional(), 'Longest message, bytes.', {
    leftOut: 'what the MTU allows',
  }),
  threshold: key(
    integer(0, 2 ** 31 - 1).optional(),
    'Packets of a connection before it is told, as the sysctl sync_threshold says to IPVS.',
    { leftOut: 'it is told when it is made' },
  ),
  period: key(
    integer(0, 2 ** 31 - 1).default(50),
    'With `threshold`: packets after which it is told again; 0: never by packets.',
  ),
  refresh: key(seconds(1, 86_400).optional(), 'Time after which a connection in use is told again.', {
    leftOut: 'a quarter of its lifetime',
  }),
  key: key(
    text().min(16, { error: 'wanted 16 signs or more' }).optional(),
    `Messages are encrypted with a key made from this, and others are not listened to; not for directors of IPVS. Best from the environment: \`"\${SYNC_KEY}"\`.`,
    { leftOut: 'they are in clear, as IPVS sends them' },
  ),
  keyFile: key(text().optional(), 'A file with that text, in place of `key`.', { leftOut: 'none' }),
});

/** How directors stand in for each other. */
export const failover = object({
  vrrp: key(list(vrrpInstance, 'VRRP instances').default([]), 'VRRP instances.'),
  groups: key(list(group, 'groups').default([]), 'Instances that change their state together.'),
  scripts: key(list(script, 'scripts').default([]), 'Programs that tell whether this director is fit.'),
  always: key(always.optional(), 'What is held for as long as the daemon runs, whoever is master.', {
    leftOut: 'nothing',
  }),
  files: key(list(trackFile, 'files').default([]), 'Files with a number that `trackFiles` may name.'),
  processes: key(list(processes, 'processes').default([]), 'Processes that `trackProcesses` may name.'),
  ...runAs('the user of the daemon', 'Whom scripts and notify programs run as.'),
  pipe: key(
    text('a path').regex(/^\//, { error: 'wanted a path that begins with "/"' }).optional(),
    'A named pipe that every change of an instance or group is written to, a line each; it is made where it is not there.',
    { examples: ['/run/headgate-vrrp'], leftOut: 'none' },
  ),
  connectionSync: key(connectionSync.optional(), 'Connections that survive a take-over.', {
    leftOut: 'not told',
  }),
});
