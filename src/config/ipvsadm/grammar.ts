import { type Address, addressToBytes, familyOf, isMulticast, parseAddress } from '../../model/address.ts';
import {
  clientAddressWords,
  type ForwardingMethod,
  type Protocol,
  type SchedulerFlags,
} from '../../model/virtual-service.ts';
import { buildCommand } from './build-command.ts';
import type { Command, ListFormat, SyncDaemon } from './command.ts';
import { type Draft, newDraft, noFlags } from './draft.ts';
import { hostAddress, parseEndpoint, parseNumber } from './endpoint.ts';
import { atWord, badArgument, CommandFailure, exitStatus, tryHelp } from './failure.ts';
import type { KnownNames } from './names.ts';
import { type FoundOption, optionWords } from './option-words.ts';
import { type CommandName, checkCommandOptions, isTunnelType } from './validity.ts';

const maximumTimeoutSeconds = 31 * 86_400;
const defaultPersistenceSeconds = 360;
const maximumInt = 2 ** 31 - 1;

const commandsByOption: Readonly<Record<string, CommandName>> = {
  'add-service': 'add-service',
  'edit-service': 'edit-service',
  'delete-service': 'delete-service',
  'add-server': 'add-server',
  'edit-server': 'edit-server',
  'delete-server': 'delete-server',
  clear: 'flush',
  list: 'list',
  zero: 'zero',
  set: 'set',
  restore: 'restore',
  save: 'save',
  'start-daemon': 'start-daemon',
  'stop-daemon': 'stop-daemon',
};

/**
 * Reads a command line (without the program's name) by the grammar of ipvsadm 1.31. The first option is the command.
 * Throws a CommandFailure with ipvsadm's words and exit status; never anything else.
 */
export function parseCommand(program: string, words: readonly string[], names: KnownNames): Command {
  const options = optionWords(words);
  const first = options.next();
  const noCommand = { word: 0, wanted: 'a command such as -A, -a or -C', found: words[0] ?? 'none' };
  if (!first || 'complaint' in first) throw tryHelp(program, noCommand);
  if (first.option.long === 'help' || first.option.long === 'version') return { kind: first.option.long };
  const name = commandsByOption[first.option.long];
  if (!name) throw tryHelp(program, noCommand);
  const draft = newDraft();
  if (name === 'start-daemon' || name === 'stop-daemon')
    draft.daemon.role = parseRole(name, first.argument ?? '');
  for (let found = options.next(); found; found = options.next()) {
    try {
      if ('complaint' in found)
        throw new CommandFailure(exitStatus.failed, `${options.lastWord()}: ${found.complaint}`);
      const apply = actions[found.option.long];
      if (!apply) throw badArgument(`invalid option \`${options.lastWord()}'`);
      if (found.option.long !== 'sort' && found.option.long !== 'ipv6') noteOption(draft, found);
      apply(draft, found.argument ?? '', names, found);
    } catch (error) {
      throw atWord(error, options.lastIndex());
    }
  }
  const rest = [...options.rest];
  if (name === 'set') draft.timeouts = parseTimeouts(rest.splice(0, 3));
  if (rest[0] !== undefined) {
    const word = options.restIndices[options.rest.length - rest.length]!;
    throw badArgument(`unexpected argument ${rest[0]}`, { word, wanted: 'an option', found: rest[0] });
  }
  if (draft.schedulerFlags) draft.flags = parseSchedulerFlags(draft.scheduler, draft.schedulerFlags);
  checkCommandOptions(name, draft.given);
  return buildCommand(name, draft);
}

function noteOption(draft: Draft, { option }: FoundOption): void {
  const display = option.display ?? option.long;
  if (draft.given.has(display)) throw badArgument(`multiple '${display}' options specified`);
  draft.given.add(display);
}

type Action = (draft: Draft, argument: string, names: KnownNames, found: FoundOption) => void;

const service =
  (protocol: Protocol): Action =>
  (draft, argument, names) => {
    const endpoint = parseEndpoint(argument, protocol, names);
    if (!endpoint)
      throw badArgument('illegal virtual server address[:port] specified', {
        wanted: 'an address and a port, such as 192.0.2.10:80, or names that are known here',
        found: argument,
      });
    draft.id = { kind: 'address', protocol, address: endpoint.address, port: endpoint.port ?? 0 };
    if (familyOf(endpoint.address) === 6) draft.netmask = 128;
  };

const method =
  (chosen: ForwardingMethod): Action =>
  (draft) => {
    draft.method = chosen;
  };

const format =
  (chosen: ListFormat): Action =>
  (draft) => {
    draft.formats.add(chosen);
  };

const onlyNoted: Action = () => {};

function numberOr(argument: string, minimum: number, maximum: number, complaint: string): number {
  const number = parseNumber(argument, minimum, maximum);
  if (number === undefined)
    throw badArgument(complaint, {
      wanted: `a whole number from ${minimum} to ${maximum}`,
      found: argument,
    });
  return number;
}

const actions: Readonly<Record<string, Action>> = {
  'tcp-service': service('tcp'),
  'udp-service': service('udp'),
  'sctp-service': service('sctp'),
  'fwmark-service': (draft, argument) => {
    const complaint = `invalid fwmark value \`${argument}' specified`;
    draft.id = { kind: 'fwmark', mark: numberOr(argument, 1, 2 ** 32 - 1, complaint), family: 4 };
  },
  ipv6: (draft) => {
    if (draft.id?.kind !== 'fwmark') throw badArgument('-6 used before -f\n');
    draft.id = { ...draft.id, family: 6 };
    draft.netmask = 128;
  },
  scheduler: (draft, argument) => {
    draft.scheduler = argument.slice(0, 15);
  },
  persistent: (draft, argument, _names, found) => {
    draft.persistentSeconds =
      found.argument === undefined ? defaultPersistenceSeconds : parseTimeout(argument, 1);
  },
  netmask: (draft, argument, names) => {
    const family = draft.id?.kind === 'address' ? familyOf(draft.id.address) : (draft.id?.family ?? 4);
    draft.netmask = family === 6 ? parsePrefixLength(argument) : parseMask(argument, names);
  },
  pe: (draft, argument) => {
    draft.engine = argument.slice(0, 16);
  },
  ops: (draft) => {
    draft.onePacket = true;
  },
  'sched-flags': (draft, argument) => {
    draft.schedulerFlags = argument.slice(0, 127);
  },
  'real-server': (draft, argument, names) => {
    const protocol = draft.id === undefined ? 'ip' : draft.id.kind === 'fwmark' ? 'tcp' : draft.id.protocol;
    const endpoint = parseEndpoint(argument, protocol, names);
    if (!endpoint)
      throw badArgument('illegal real server address[:port] specified', {
        wanted: 'an address, with or without a port, or names that are known here',
        found: argument,
      });
    const servicePort = draft.id?.kind === 'address' ? draft.id.port : 0;
    draft.server = { address: endpoint.address, port: endpoint.port ?? servicePort };
  },
  gatewaying: method('direct-routing'),
  ipip: method('tunnel'),
  masquerading: method('masquerade'),
  'full-nat': method('full-nat'),
  'local-addresses': (draft, argument) => {
    const localAddresses = argument.split(',').map((text) => {
      const address = parseAddress(text);
      if (address === undefined)
        throw badArgument('illegal local address specified', {
          wanted: 'addresses with commas',
          found: text,
        });
      return address;
    });
    draft.fullNat = { ...draft.fullNat, localAddresses };
  },
  'client-address': (draft, argument) => {
    const clientAddress = clientAddressWords.find((word) => word === argument);
    if (!clientAddress)
      throw badArgument('illegal client address specified', {
        wanted: clientAddressWords.join(', '),
        found: argument,
      });
    draft.fullNat = { ...draft.fullNat, clientAddress };
  },
  weight: (draft, argument) => {
    draft.weight = numberOr(argument, 0, maximumInt, 'illegal weight specified');
  },
  'u-threshold': (draft, argument) => {
    draft.upperThreshold = numberOr(argument, 0, maximumInt, 'illegal u_threshold specified');
  },
  'l-threshold': (draft, argument) => {
    draft.lowerThreshold = numberOr(argument, 0, maximumInt, 'illegal l_threshold specified');
  },
  'tun-type': (draft, argument) => {
    if (!isTunnelType(argument))
      throw badArgument('illegal tunnel type specified', { wanted: 'ipip, gue or gre', found: argument });
    draft.tunnelType = argument;
  },
  'tun-port': (draft, argument) => {
    draft.tunnelPort = numberOr(argument, 1, 65535, 'illegal tunnel port specified');
  },
  'tun-nocsum': onlyNoted,
  'tun-csum': onlyNoted,
  'tun-remcsum': onlyNoted,
  numeric: onlyNoted,
  connection: onlyNoted,
  timeout: onlyNoted,
  daemon: onlyNoted,
  nosort: onlyNoted,
  sort: onlyNoted,
  exact: onlyNoted,
  stats: format('stats'),
  rate: format('rate'),
  thresholds: format('thresholds'),
  'persistent-conn': format('persistent-conn'),
  'tun-info': format('tun-info'),
  'mcast-interface': (draft, argument) => {
    draft.daemon.interface = argument.slice(0, 15);
  },
  syncid: (draft, argument) => {
    draft.daemon.syncId = numberOr(argument, 0, 255, 'illegal syncid specified');
  },
  'sync-maxlen': (draft, argument) => {
    draft.daemon.maximumLength = numberOr(argument, 1, 65535 - 20 - 8, 'illegal sync-maxlen specified');
  },
  'mcast-group': (draft, argument) => {
    draft.daemon.group = parseGroup(argument);
  },
  'mcast-port': (draft, argument) => {
    draft.daemon.port = numberOr(argument, 1, 65535, 'illegal mcast-port specified');
  },
  'mcast-ttl': (draft, argument) => {
    draft.daemon.ttl = numberOr(argument, 1, 255, 'illegal mcast-ttl specified');
  },
};

function parseRole(name: 'start-daemon' | 'stop-daemon', argument: string): SyncDaemon['role'] {
  if (argument === 'master' || argument === 'backup') return argument;
  throw badArgument(
    name === 'start-daemon' ? 'illegal start-daemon parameter specified' : 'illegal start_daemon specified',
  );
}

function parseTimeout(argument: string, minimum: number): number {
  return numberOr(argument, minimum, maximumTimeoutSeconds, `invalid timeout value \`${argument}' specified`);
}

function parseTimeouts(values: readonly string[]): [number, number, number] {
  const [tcp, tcpFin, udp] = values;
  if (tcp === undefined || tcpFin === undefined || udp === undefined)
    throw badArgument('--set option requires 3 timeout values');
  return [parseTimeout(tcp, 0), parseTimeout(tcpFin, 0), parseTimeout(udp, 0)];
}

function parseMask(argument: string, names: KnownNames): number {
  const address = hostAddress(argument, names);
  if (!address)
    throw badArgument('illegal virtual server persistent mask specified', {
      wanted: 'a netmask such as 255.255.255.0',
      found: argument,
    });
  return toNumber(address);
}

// atoi(3): a leading number counts, the rest of the word does not.
function parsePrefixLength(argument: string): number {
  const length = Number.parseInt(argument, 10);
  if (!(length >= 1 && length <= 128))
    throw badArgument('illegal ipv6 netmask specified', {
      wanted: 'a prefix length from 1 to 128',
      found: argument,
    });
  return length;
}

const toNumber = (address: Address): number =>
  addressToBytes(address).reduce((sum, byte) => sum * 256 + byte, 0);

function parseGroup(argument: string): string {
  const address = parseAddress(argument);
  if (address && isMulticast(address)) return address;
  throw badArgument(`invalid ${argument.includes(':') ? 'IPv6' : 'IPv4'} mcast-group \`${argument}'`);
}

const flagWords: Readonly<Record<string, { readonly bit: keyof SchedulerFlags; readonly only?: string }>> = {
  'flag-1': { bit: 'flag1' },
  'flag-2': { bit: 'flag2' },
  'flag-3': { bit: 'flag3' },
  'sh-fallback': { bit: 'flag1', only: 'sh' },
  'sh-port': { bit: 'flag2', only: 'sh' },
  'mh-fallback': { bit: 'flag1', only: 'mh' },
  'mh-port': { bit: 'flag2', only: 'mh' },
};

function parseSchedulerFlags(scheduler: string, text: string): SchedulerFlags {
  const flags = { ...noFlags };
  for (const word of text.split(',').filter((part) => part !== '')) {
    const flag = Object.hasOwn(flagWords, word) ? flagWords[word] : undefined;
    if (!flag) throw badArgument(`invalid scheduler flag \`${word}'`);
    if (flag.only !== undefined && flag.only !== scheduler)
      throw badArgument(`incompatible scheduler flag \`${word}'`);
    flags[flag.bit] = true;
  }
  return flags;
}
