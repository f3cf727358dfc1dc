import { type Address, addressFromBytes, addressToBytes, familyOf } from '../../model/address.ts';
import { protocolNumbers, serviceFamily } from '../../model/service-id.ts';
import type {
  Destination,
  Protocol,
  ServiceId,
  Tunnel,
  VirtualService,
  WhenGone,
} from '../../model/virtual-service.ts';
import { whenGoneOf, withWhenGone } from '../../model/when-gone.ts';
import { numbers } from './layout.generated.ts';
import type { Records } from './records.ts';

/** An address as the program keeps it: IPv6 in 16 bytes, IPv4 in the last four, network order. */
export function encodeAddress(address: Address): Uint8Array {
  const bytes = addressToBytes(address);
  const encoded = new Uint8Array(16);
  encoded.set(bytes, 16 - bytes.length);
  return encoded;
}

/** The address in 16 bytes of a record, `family` 4 or 6. */
export function decodeAddress(bytes: Uint8Array, family: number): Address {
  return addressFromBytes(family === 6 ? bytes : bytes.subarray(12));
}

/** Swaps the bytes of a port: records keep ports in network order. */
export function swapPort(port: number): number {
  return ((port & 0xff) << 8) | (port >> 8);
}

const methodNumbers = {
  masquerade: numbers.method.METHOD_MASQUERADE,
  tunnel: numbers.method.METHOD_TUNNEL,
  'direct-routing': numbers.method.METHOD_DIRECT_ROUTING,
  'full-nat': numbers.method.METHOD_FULL_NAT,
} as const;

const tunnelTypes = ['ipip', 'gue', 'gre'] as const;
const tunnelChecksums = ['none', 'checksum', 'remote'] as const;

const schedulerNumbers: Readonly<Record<VirtualService['scheduler'], number>> = {
  none: numbers.scheduler.SCHEDULER_NONE,
  rr: numbers.scheduler.SCHEDULER_RR,
  wrr: numbers.scheduler.SCHEDULER_WRR,
  lc: numbers.scheduler.SCHEDULER_LC,
  wlc: numbers.scheduler.SCHEDULER_WLC,
  lblc: numbers.scheduler.SCHEDULER_LBLC,
  lblcr: numbers.scheduler.SCHEDULER_LBLCR,
  dh: numbers.scheduler.SCHEDULER_DH,
  sh: numbers.scheduler.SCHEDULER_SH,
  sed: numbers.scheduler.SCHEDULER_SED,
  nq: numbers.scheduler.SCHEDULER_NQ,
  fo: numbers.scheduler.SCHEDULER_FO,
  ovf: numbers.scheduler.SCHEDULER_OVF,
  mh: numbers.scheduler.SCHEDULER_MH,
  twos: numbers.scheduler.SCHEDULER_TWOS,
};

const ftpPort = 21;

const flagNumbers = numbers.service_flag;

const { FATE_DROP, FATE_KEEP, FATE_EXPIRE, FATE_RESET, FATE_MASK } = numbers.fate;
const fateNumbers: Readonly<Record<WhenGone, number>> = {
  drop: FATE_DROP,
  keep: FATE_KEEP,
  expire: FATE_EXPIRE,
  reset: FATE_RESET,
};

/** What the record of a deleted service still tells: what becomes of its connections. */
export function flagsOfDeleted(service: VirtualService): number {
  return fateNumbers[whenGoneOf(service)] << flagNumbers.SERVICE_FATE_SHIFT;
}

/** The key of the service index: struct service_key. */
export function encodeServiceKey(id: ServiceId): Buffer {
  const key = Buffer.alloc(20);
  if (id.kind === 'address') {
    key.set(encodeAddress(id.address));
    key.writeUInt16BE(id.port, 16);
    key[18] = protocolNumbers[id.protocol];
  } else {
    // No packet has protocol 0: fwmark services are found by their mark alone.
    key.writeUInt32BE(id.mark, 12);
  }
  key[19] = serviceFamily(id);
  return key;
}

/** The packets that a service may take although no address and port leads to it. */
export function catchOf(id: ServiceId): number {
  const { CATCH_ANY, CATCH_FTP, CATCH_MARK } = numbers.catch;
  if (id.kind !== 'address') return CATCH_MARK;
  if (id.port === 0) return CATCH_ANY;
  return id.port === ftpPort ? CATCH_FTP : 0;
}

/** Writes a service's settings into its record; what the program keeps there itself stays as it is. */
export function writeService(services: Records<'service'>, slot: number, service: VirtualService): void {
  const { id, persistence, schedulerFlags } = service;
  if (id.kind === 'address') {
    services.setAddress(slot, 'address', encodeAddress(id.address));
    services.set(slot, 'port', swapPort(id.port));
    services.set(slot, 'protocol', protocolNumbers[id.protocol]);
    services.set(slot, 'fwmark', 0);
  } else {
    services.setAddress(slot, 'address', new Uint8Array(16));
    services.set(slot, 'port', 0);
    services.set(slot, 'protocol', 0);
    services.set(slot, 'fwmark', id.mark);
  }
  services.set(slot, 'family', serviceFamily(id));
  services.set(slot, 'timeout', persistence?.timeoutSeconds ?? 0);
  services.set(slot, 'netmask', persistence?.netmask ?? 0);
  services.set(slot, 'engine', persistence?.engine === 'sip' ? 1 : 0);
  services.set(slot, 'scheduler', schedulerNumbers[service.scheduler]);
  services.set(
    slot,
    'flags',
    flagNumbers.SERVICE_USED |
      (persistence ? flagNumbers.SERVICE_PERSISTENT : 0) |
      (service.onePacket ? flagNumbers.SERVICE_ONE_PACKET : 0) |
      (schedulerFlags.flag1 ? flagNumbers.SERVICE_FLAG1 : 0) |
      (schedulerFlags.flag2 ? flagNumbers.SERVICE_FLAG2 : 0) |
      (schedulerFlags.flag3 ? flagNumbers.SERVICE_FLAG3 : 0) |
      (id.kind === 'fwmark' ? flagNumbers.SERVICE_FWMARK : 0) |
      flagsOfDeleted(service),
  );
}

/** Reads a service's settings back; the record of a deleted service still tells whose it was. */
export function readService(services: Records<'service'>, slot: number): VirtualService {
  const flags = services.get(slot, 'flags');
  const scheduler = services.get(slot, 'scheduler');
  const engine = services.get(slot, 'engine');
  const service: VirtualService = {
    id: readServiceId(services, slot),
    scheduler: keyOf(schedulerNumbers, scheduler),
    schedulerFlags: {
      flag1: (flags & flagNumbers.SERVICE_FLAG1) !== 0,
      flag2: (flags & flagNumbers.SERVICE_FLAG2) !== 0,
      flag3: (flags & flagNumbers.SERVICE_FLAG3) !== 0,
    },
    onePacket: (flags & flagNumbers.SERVICE_ONE_PACKET) !== 0,
    ...((flags & flagNumbers.SERVICE_PERSISTENT) !== 0 && {
      persistence: {
        timeoutSeconds: services.get(slot, 'timeout'),
        netmask: services.get(slot, 'netmask'),
        ...(engine === 1 && { engine: 'sip' }),
      },
    }),
  };
  return withWhenGone(service, keyOf(fateNumbers, (flags >> flagNumbers.SERVICE_FATE_SHIFT) & FATE_MASK));
}

/** What identifies the service of a record. */
export function readServiceId(services: Records<'service'>, slot: number): ServiceId {
  const family = services.get(slot, 'family') === 6 ? 6 : 4;
  const protocol = services.get(slot, 'protocol');
  if (protocol === 0) return { kind: 'fwmark', mark: services.get(slot, 'fwmark'), family };
  return {
    kind: 'address',
    protocol: keyOf(protocolNumbers, protocol) as Protocol,
    address: decodeAddress(services.address(slot, 'address'), family),
    port: swapPort(services.get(slot, 'port')),
  };
}

/** Writes a destination's settings into its record, weight last. */
export function writeDestination(
  destinations: Records<'destination'>,
  slot: number,
  destination: Destination,
): void {
  const { tunnel } = destination;
  destinations.setAddress(slot, 'address', encodeAddress(destination.address));
  destinations.set(slot, 'port', swapPort(destination.port));
  destinations.set(slot, 'family', familyOf(destination.address));
  destinations.set(slot, 'method', methodNumbers[destination.method]);
  destinations.set(slot, 'upper', destination.upperThreshold);
  destinations.set(slot, 'lower', destination.lowerThreshold);
  destinations.set(
    slot,
    'tunnel',
    tunnel
      ? tunnelTypes.indexOf(tunnel.type) |
          (tunnelChecksums.indexOf(tunnel.checksum) << 8) |
          (tunnel.port << 16)
      : 0,
  );
  if (destination.weight !== 0) destinations.set(slot, 'last_weight', destination.weight);
  destinations.set(slot, 'weight', destination.weight);
}

/** Reads a destination's settings back; the addresses that full NAT was given stand in a map of their own. */
export function readDestination(
  destinations: Records<'destination'>,
  slot: number,
  localAddresses: readonly Address[] = [],
): Destination {
  const method = keyOf(methodNumbers, destinations.get(slot, 'method'));
  return {
    address: decodeAddress(destinations.address(slot, 'address'), destinations.get(slot, 'family')),
    port: swapPort(destinations.get(slot, 'port')),
    method,
    weight: destinations.get(slot, 'weight') | 0,
    upperThreshold: destinations.get(slot, 'upper'),
    lowerThreshold: destinations.get(slot, 'lower'),
    ...((destinations.get(slot, 'flags') & numbers.destination_flag.DESTINATION_EXPIRES_TEMPLATES) !== 0 && {
      expiresTemplates: true as const,
    }),
    ...(method === 'tunnel' && { tunnel: readTunnel(destinations.get(slot, 'tunnel')) }),
    ...(method === 'full-nat' && {
      fullNat: {
        localAddresses,
        clientAddress:
          destinations.get(slot, 'full_nat') & numbers.full_nat.FULL_NAT_TCP_OPTION
            ? ('tcp-option' as const)
            : ('hidden' as const),
      },
    }),
  };
}

function readTunnel(word: number): Tunnel {
  return {
    type: tunnelTypes[word & 0xff]!,
    checksum: tunnelChecksums[(word >> 8) & 0xff]!,
    port: word >>> 16,
  };
}

function keyOf<Key extends string>(table: Readonly<Record<Key, number>>, value: number): Key {
  for (const key of Object.keys(table) as Key[]) if (table[key] === value) return key;
  throw new RangeError(`read record: ${value} is none of ${Object.values(table).join(', ')}`);
}
