import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { ConnectionFeed, FeedRule, TakeConnection } from '../../model/connection-feed.ts';
import { markOfTemplate, type SyncedConnection, syncFlags } from '../../model/connection-sync.ts';
import { protocolNumbers } from '../../model/service-id.ts';
import { openRingBuffer } from '../../sys/bpf/ringbuf.ts';
import { syscallProgram } from '../../sys/bpf/test-run.ts';
import { callEngine, callIdAt, mostCallIdBytes, putCallId } from './call-ids.ts';
import { jiffiesNow, mapConnections } from './connections.ts';
import { loadPrograms } from './create.ts';
import { swapPort } from './encoding.ts';
import { type Instance, mapFile } from './instance.ts';
import { numbers, records } from './layout.generated.ts';
import { openLocalEnds } from './local-ends.ts';
import { mapRecords } from './records.ts';
import { reasonAgain } from './refresh.ts';

const {
  WORD_STATE,
  WORD_LIVE,
  WORD_DEAD,
  WORD_INACTIVE,
  WORD_NO_OUTPUT,
  WORD_TEMPLATE,
  WORD_ONE_PACKET,
  WORD_RULED,
} = numbers.connection_word;
const { WORD_METHOD_SHIFT } = numbers.connection_word;
const { STATE_UDP, STATE_SYNACK, STATE_CLOSE, STATE_SCTP_NONE, STATE_SCTP_CLOSED } = numbers.state;
const { METHOD_MASQUERADE, METHOD_TUNNEL, METHOD_DIRECT_ROUTING, METHOD_BYPASS, METHOD_FULL_NAT } =
  numbers.method;
const methods: readonly number[] = [METHOD_MASQUERADE, METHOD_TUNNEL, METHOD_DIRECT_ROUTING, METHOD_BYPASS];
/** What a connection's method is while it has no destination, from which it inherits one then. */
const methodWithout = (method: number): number => (method === METHOD_FULL_NAT ? METHOD_MASQUERADE : method);

/** As much as the program tells apart (LONGEST_TIMEOUT of bpf/persist.h). */
const longestJiffies = 0xffe00000;
/** What IPVS gives a template whose message tells no lifetime (ip_vs_proc_conn). */
const templateSeconds = 180;
/** IP_VS_TCP_S_LAST, IP_VS_SCTP_S_LAST, IP_VS_CTPL_S_LAST: how many states there are. */
const states = {
  tcp: STATE_SYNACK + 1,
  sctp: STATE_SCTP_CLOSED - STATE_SCTP_NONE + 1,
  template: 2,
  udp: 1,
} as const;

/** Opens the feed of an instance. */
export function openConnectionFeed(instance: Instance): ConnectionFeed {
  const { settings, runtime } = instance;
  const { entries, details } = mapConnections(instance);
  const destinations = mapRecords(instance.map('destinations'), 'destination');
  const locals = openLocalEnds(instance.map('local_addresses'));
  const ring = openRingBuffer(instance.map('sync_ring'));
  const hertz = settings.get(0, 'hz');
  const loaded = loadPrograms(instance.map, ['headgate_take']);
  const program = syscallProgram(loaded.programs.headgate_take!.fd, records.sync_entry.size);
  const argument = new DataView(program.context.buffer, program.context.byteOffset, records.sync_entry.size);
  const identity = inodeOf(instance);
  /** Jiffies when a slot was told of, and how often in between it was time. */
  const told = new Uint32Array(entries.count);
  const retried = new Uint8Array(entries.count);
  const toldState = new Uint8Array(entries.count);
  let rule: FeedRule = { packets: 'all' };
  let pending = new Set<number>();
  let cursor = 1;
  let whole = false;
  let order = settings.get(0, 'order');
  const isTemplateWord = (word: number) => (word & WORD_TEMPLATE) !== 0;

  /** Whether a persistence template rules a connection, or the control connection that rules it (in_persistence). */
  function hasTemplate(slot: number, word: number): boolean {
    if (!(word & WORD_RULED)) return false;
    const ruler = details.get(slot, 'control');
    const rulerWord = entries.get(ruler, 'word');
    return isTemplateWord(rulerWord) || hasTemplate(ruler, rulerWord);
  }

  /** The connection in a slot, as it is told; undefined where there is nothing to tell. */
  function read(slot: number, now: number): SyncedConnection | undefined {
    const word = entries.get(slot, 'word');
    const ended = (word & WORD_DEAD) !== 0;
    if (!(word & (WORD_LIVE | WORD_DEAD)) || word & WORD_ONE_PACKET) return undefined;
    if (rule.withoutRuled && hasTemplate(slot, word)) return undefined;
    const template = isTemplateWord(word);
    if (ended && template) return undefined;
    const port = entries.get(slot, 'client_port');
    const call = template && port !== 0 ? callIdAt(instance.map('call_ids'), slot) : undefined;
    if (template && port !== 0 && !call) return undefined;
    const timeout = entries.get(slot, 'timeout');
    const left = timeout - Math.max(0, (now - entries.get(slot, 'seen')) | 0);
    if (left <= 0) return undefined;
    const family = entries.get(slot, 'family') === 6 ? 6 : 4;
    const own = word >>> WORD_METHOD_SHIFT;
    // The real server knows such a connection by its local end alone.
    const local =
      own === METHOD_FULL_NAT && !template ? locals.endIn(details.get(slot, 'local'), family) : null;
    if (local !== null && !(rule.localEnds && local)) return undefined;
    // A template of full NAT says who serves a client, which is as good elsewhere.
    const method = own === METHOD_FULL_NAT && template ? METHOD_MASQUERADE : own;
    const protocol = entries.get(slot, 'protocol');
    const state = word & WORD_STATE;
    const virtual = address(slot, 'virtual', family);
    const mark = template ? markOfTemplate(protocol, virtual) : details.get(slot, 'fwmark');
    const realPort = entries.get(slot, 'real_port');
    return {
      family,
      protocol,
      flags:
        method |
        (word & WORD_NO_OUTPUT && method !== METHOD_MASQUERADE && method !== METHOD_FULL_NAT
          ? syncFlags.noOutput
          : 0) |
        (word & WORD_INACTIVE || ended ? syncFlags.inactive : 0) |
        (template ? syncFlags.template : 0),
      state: stateOnWire(state, template, ended, protocol),
      client: address(slot, 'client', family),
      clientPort: template ? 0 : swapPort(port),
      virtual,
      virtualPort: swapPort(entries.get(slot, 'virtual_port')),
      real: address(slot, 'real', family),
      // That of a mark's template counts for nothing, but IPVS finds the real server by it (ip_vs_find_dest).
      realPort: swapPort(
        template && mark && !realPort ? destinations.get(entries.get(slot, 'destination'), 'port') : realPort,
      ),
      fwmark: mark,
      // A template keeps its whole lifetime; a connection ends when ours does.
      timeoutSeconds: ended ? 1 : Math.max(1, Math.ceil((template ? timeout : left) / hertz)),
      ...(call && { engine: { name: callEngine, data: call } }),
      ...(local && { local }),
    };
  }

  function address(slot: number, side: 'client' | 'virtual' | 'real', family: 4 | 6): Uint8Array {
    const words = new Uint32Array(family === 6 ? 4 : 1);
    if (family === 6) for (let i = 0; i < 3; i++) words[i] = details.get(slot, `${side}_head`, i);
    words[words.length - 1] = entries.get(slot, side);
    return new Uint8Array(words.buffer);
  }

  function tell(slot: number, now: number, take: TakeConnection): boolean {
    const connection = read(slot, now);
    if (!connection) return false;
    told[slot] = now | 1;
    toldState[slot] = connection.state;
    take(connection, slot);
    return true;
  }

  /** Whether a connection was used since it was told of, and it is time to say so. */
  function isDue(slot: number, now: number): boolean {
    if (!(entries.get(slot, 'word') & WORD_LIVE)) return false;
    const since = told[slot] || details.get(slot, 'synced') | 1;
    if (since === 1) return true;
    if (((entries.get(slot, 'seen') - since) | 0) <= 0) return false;
    const again = reasonAgain(
      {
        ago: (now - since) >>> 0,
        lifetime: entries.get(slot, 'timeout'),
        retried: retried[slot]!,
        second: hertz,
      },
      rule,
    );
    if (again !== undefined) retried[slot] = again === 'retry' ? retried[slot]! + 1 : 0;
    return again !== undefined;
  }

  /** IPVS: packets are no reason to tell of a connection that is in the same state within its refresh time. */
  function isTooSoon(slot: number, now: number): boolean {
    if (rule.packets === 'all' || rule.refreshSeconds === undefined || told[slot] === 0) return false;
    const isSame = (entries.get(slot, 'word') & WORD_STATE) === toldState[slot];
    return isSame && !isDue(slot, now);
  }

  return {
    fd: ring.fd,
    begin(next) {
      rule = next;
      const { packets } = rule;
      if (packets !== 'all') {
        settings.set(0, 'sync_threshold', packets.threshold);
        settings.set(0, 'sync_period', packets.period);
      }
      settings.set(0, 'sync', packets === 'all' ? numbers.sync.SYNC_ALL : numbers.sync.SYNC_BY_PACKETS);
    },
    drain(take) {
      ring.drain((event) => pending.add(event.readUInt32LE(0)));
      if (pending.size === 0) return 0;
      const slots = pending;
      pending = new Set();
      const now = jiffiesNow(instance, hertz);
      let count = 0;
      for (const slot of slots)
        if (slot < entries.count && !isTooSoon(slot, now) && tell(slot, now, take)) count++;
      return count;
    },
    again(places, take) {
      const now = jiffiesNow(instance, hertz);
      for (const slot of places) if (slot < entries.count) tell(slot, now, take);
    },
    walk(slots, everything, take) {
      if (everything !== whole) [cursor, whole] = [1, everything];
      const last = Math.min(runtime.get(0, 'fresh'), entries.count - 1);
      const end = Math.min(cursor + slots - 1, last);
      const now = jiffiesNow(instance, hertz);
      for (; cursor <= end; cursor++)
        if (everything ? entries.get(cursor, 'word') & WORD_LIVE : isDue(cursor, now))
          tell(cursor, now, take);
      if (cursor <= last) return false;
      cursor = 1;
      return true;
    },
    lost: () => runtime.get(0, 'untold'),
    enter(connection) {
      const word = wordOf(connection);
      if (word === undefined) return 'refused';
      const seconds = connection.timeoutSeconds || ownSeconds(connection, word);
      writeArgument(argument, connection, word, Math.min(seconds * hertz, longestJiffies));
      if (connection.engine) putCallId(instance.map('call_ids'), connection.engine.data);
      // What comes in where the slot of the destination goes out.
      if (connection.local) argument.setUint32(at('destination'), locals.wordOf(connection.local), true);
      if (program.call() !== 1) return 'refused';
      return argument.getUint32(records.sync_entry.fields.destination.offset, true) === 0
        ? 'unbound'
        : 'bound';
    },
    destinationsCame() {
      const before = order;
      order = settings.get(0, 'order');
      return order !== before;
    },
    isCurrent: () => inodeOf(instance) === identity,
    end: () => settings.set(0, 'sync', numbers.sync.SYNC_OFF),
    close() {
      ring.close();
      entries.close();
      details.close();
      destinations.close();
      loaded.close();
    },
  };

  function ownSeconds({ flags }: SyncedConnection, word: number): number {
    if (flags & syncFlags.template) return templateSeconds;
    return settings.get(0, 'timeout', word & WORD_STATE) / hertz;
  }
}

/** IPVS counts the states of each protocol from 0, and templates have states of their own. */
function stateOnWire(state: number, template: boolean, ended: boolean, protocol: number): number {
  if (template) return state;
  if (protocol === protocolNumbers.tcp) return ended ? STATE_CLOSE : state;
  return protocol === protocolNumbers.sctp ? (ended ? STATE_SCTP_CLOSED : state) - STATE_SCTP_NONE : 0;
}

/** A connection's word, without what the program decides; undefined for what this plane cannot have. */
function wordOf({ protocol, flags, state, family, fwmark, engine }: SyncedConnection): number | undefined {
  const template = (flags & syncFlags.template) !== 0;
  if (engine && !(engine.name === callEngine && isCallId(engine.data))) return undefined;
  if (flags & (syncFlags.onePacket | syncFlags.noClientPort)) return undefined;
  const method = methodWithout(flags & syncFlags.method);
  if (!methods.includes(method)) return undefined;
  const shared = (method << WORD_METHOD_SHIFT) | (template ? WORD_TEMPLATE : 0);
  if (template)
    return state < states.template && (protocol !== 0 || fwmark !== 0) ? shared | state : undefined;
  const inactive = flags & syncFlags.inactive ? WORD_INACTIVE : 0;
  if (protocol === protocolNumbers.tcp) return state < states.tcp ? shared | state | inactive : undefined;
  if (protocol === protocolNumbers.sctp)
    return state < states.sctp ? shared | (STATE_SCTP_NONE + state) | inactive : undefined;
  if (protocol !== protocolNumbers.udp || state >= states.udp || (family !== 4 && family !== 6))
    return undefined;
  return shared | STATE_UDP | WORD_INACTIVE;
}

const isCallId = ({ length }: Uint8Array): boolean => length > 0 && length <= mostCallIdBytes;

const at = (field: keyof typeof records.sync_entry.fields) => records.sync_entry.fields[field].offset;

/** Writes struct sync_entry. */
function writeArgument(
  argument: DataView,
  connection: SyncedConnection,
  word: number,
  jiffies: number,
): void {
  const bytes = new Uint8Array(argument.buffer, argument.byteOffset, argument.byteLength);
  bytes.fill(0);
  for (const side of ['client', 'virtual', 'real'] as const)
    bytes.set(connection[side], at(side) + 16 - connection[side].length);
  argument.setUint16(at('client_port'), connection.clientPort);
  argument.setUint16(at('virtual_port'), connection.virtualPort);
  argument.setUint16(at('real_port'), connection.realPort);
  argument.setUint8(at('protocol'), connection.protocol);
  argument.setUint8(at('family'), connection.family);
  argument.setUint32(at('word'), word, true);
  argument.setUint32(at('timeout'), jiffies, true);
  argument.setUint32(at('fwmark'), connection.fwmark, true);
  argument.setUint32(at('of_call'), connection.engine ? 1 : 0, true);
}

/** Another build's instance has other maps under the same names. */
function inodeOf({ directory }: Instance): number | undefined {
  return statSync(join(directory, mapFile('connections')), { throwIfNoEntry: false })?.ino;
}
