/**
 * Connection states, their transitions and their timeouts as Linux 6.12 has them, as plain data in the kernel's
 * numeric order, so that a table compiled into another program can be compared with it number by number. Sources:
 * net/netfilter/ipvs/ip_vs_proto_tcp.c, ip_vs_proto_udp.c, ip_vs_proto_sctp.c.
 */

/** Where a packet goes; `input-only` is input while no answer was ever seen (direct routing, tunnel). */
export const directions = ['input', 'output', 'input-only'] as const;
export type Direction = (typeof directions)[number];

/** TCP states; the index is the kernel's number. */
// biome-ignore format: as a table
export const tcpStateNames = [
  'NONE', 'ESTABLISHED', 'SYN_SENT', 'SYN_RECV', 'FIN_WAIT', 'TIME_WAIT',
  'CLOSE', 'CLOSE_WAIT', 'LAST_ACK', 'LISTEN', 'SYNACK',
] as const;

/** Lifetime in each TCP state without a packet, seconds. */
export const tcpTimeoutsSeconds: readonly number[] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];

/** Whether a connection in this TCP state counts as active. */
export const tcpActive: readonly boolean[] = [1, 3, 2, 10].reduce(
  (active, state) => active.with(state, true),
  new Array<boolean>(tcpStateNames.length).fill(false),
);

/** TCP events in the order of the transition tables' rows. */
const tcpEvents = ['syn', 'fin', 'ack', 'rst'] as const;
export type TcpEvent = (typeof tcpEvents)[number];

/** A transition table: row = direction x number of events + event, column = present state, value = next state. */
export type Transitions = readonly (readonly number[])[];

const tcpCodes = ['NO', 'ES', 'SS', 'SR', 'FW', 'TW', 'CL', 'CW', 'LA', 'LI', 'SA'];

/** TCP transitions. */
export const tcpTransitions: Transitions = readTable(tcpCodes, [
  // NO ES SS SR FW TW CL CW LA LI SA
  'SR ES ES SR SR SR SR SR SR SR SR', // input: syn, fin, ack, rst
  'CL CW SS TW TW TW CL CW LA LI TW',
  'ES ES SS ES FW TW CL CW CL LI ES',
  'CL CL CL SR CL CL CL CL LA LI SR',
  'SS ES SS SR SS SS SS SS SS LI SR', // output
  'TW FW SS TW FW TW CL TW LA LI TW',
  'ES ES SS ES FW TW CL CW LA ES ES',
  'CL CL SS CL CL TW CL CL CL CL CL',
  'SR ES ES SR SR SR SR SR SR SR SR', // input only
  'CL FW SS TW FW TW CL CW LA LI TW',
  'ES ES SS ES FW TW CL CW CL LI ES',
  'CL CL CL SR CL CL CL CL LA LI CL',
]);

/** TCP transitions while the secure_tcp defence is on. */
export const tcpTransitionsSecure: Transitions = readTable(tcpCodes, [
  // NO ES SS SR FW TW CL CW LA LI SA
  'SR ES ES SR SR SR SR SR SR SR SA', // input: syn, fin, ack, rst
  'CL CW SS TW TW TW CL CW LA LI SA',
  'ES ES SS SR FW TW CL CW CL LI SA',
  'CL CL CL SR CL CL CL CL LA LI CL',
  'SS ES SS SA SS SS SS SS SS LI SA', // output
  'TW FW SS TW FW TW CL TW LA LI TW',
  'ES ES SS ES FW TW CL CW LA ES ES',
  'CL CL SS CL CL TW CL CL CL CL CL',
  'SA ES ES SR SA SA SA SA SA SA SA', // input only
  'CL FW SS TW FW TW CL CW LA LI TW',
  'ES ES SS ES FW TW CL CW CL LI ES',
  'CL CL CL SR CL CL CL CL LA LI CL',
]);

/** The event of a segment by its flag bits (RFC 9293, 3.1: FIN 1, SYN 2, RST 4, ACK 16): RST > SYN > FIN > ACK. */
export function tcpEvent(flags: number): TcpEvent | undefined {
  if (flags & 0x04) return 'rst';
  if (flags & 0x02) return 'syn';
  if (flags & 0x01) return 'fin';
  return flags & 0x10 ? 'ack' : undefined;
}

/** The state after a segment; one without any of the four flags closes the connection. */
export function nextTcpState(state: number, direction: Direction, flags: number, secure = false): number {
  const event = tcpEvent(flags);
  if (!event) return tcpStateNames.indexOf('CLOSE');
  const row = directions.indexOf(direction) * tcpEvents.length + tcpEvents.indexOf(event);
  return (secure ? tcpTransitionsSecure : tcpTransitions)[row]![state]!;
}

/** UDP has one state, never active. */
export const udpStateNames = ['UDP'] as const;
export const udpTimeoutsSeconds: readonly number[] = [300];

/** SCTP states by the names the kernel shows; the index is the kernel's number. */
// biome-ignore format: as a table
export const sctpStateNames = [
  'NONE', 'INIT1', 'INIT', 'C-SENT', 'C-REPLIED', 'C-WAIT', 'COOKIE', 'C-ECHOED', 'ESTABLISHED',
  'S-SENT', 'S-RECEIVED', 'S-ACK-SENT', 'REJECTED', 'CLOSED',
] as const;

/** Lifetime in each SCTP state without a packet, seconds. */
export const sctpTimeoutsSeconds: readonly number[] = [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61];

/** Whether a connection in this SCTP state counts as active. */
export const sctpActive: readonly boolean[] = sctpStateNames.map((name) => name === 'ESTABLISHED');

/** SCTP events in the order of the transition table's rows. */
// biome-ignore format: as a table
export const sctpEvents = [
  'data', 'init', 'init-ack', 'cookie-echo', 'cookie-ack',
  'shutdown', 'shutdown-ack', 'shutdown-complete', 'error', 'abort',
] as const;
export type SctpEvent = (typeof sctpEvents)[number];

const sctpCodes = ['NO', 'I1', 'IN', 'CS', 'CR', 'CW', 'CO', 'CE', 'ES', 'SS', 'SR', 'SA', 'RJ', 'CL'];

/** SCTP transitions. */
export const sctpTransitions: Transitions = readTable(sctpCodes, [
  // NO I1 IN CS CR CW CO CE ES SS SR SA RJ CL
  'ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL', // input: data
  'I1 IN IN CS CR CW CO CE ES SS SR SA IN IN', // init
  'CW CW CW CS CR CO CO CE ES SS SR SA RJ CL', // init-ack
  'CR IN IN CR CR CW CO CE ES SS SR SA RJ CL', // cookie-echo
  'ES I1 IN CS CR CW CO ES ES SS SR SA RJ CL', // cookie-ack
  'SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL', // shutdown
  'CL IN IN CS CR CW CO CE ES CL SR CL RJ CL', // shutdown-ack
  'CL CL CL CS CR CW CO CE ES SS SR CL RJ CL', // shutdown-complete
  'CL I1 IN CS CR CW CO CL ES SS SR SA RJ CL', // error
  'CL CL CL CL CL RJ CL CL CL CL CL CL CL CL', // abort
  'ES I1 IN CS CR CW CO CE ES SS SR SA RJ CL', // output
  'CW CW CW CW CW CW CW CW ES CW CW CW CW CW',
  'CS CS CS CS CR CW CO CE ES SS SR SA RJ CL',
  'CE CE CE CE CE CE CE CE ES SS SR SA RJ CL',
  'ES ES ES ES ES ES ES ES ES SS SR SA RJ CL',
  'SS SS SS SS SS SS SS SS SS SS SR SA RJ CL',
  'SA SA SA SA SA CW CO CE ES SA SA SA RJ CL',
  'CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  'CL CL CL CL CL CW CO CE ES SS SR SA RJ CL',
  'CL RJ CL CL CL CL CL CL CL CL CL CL CL CL',
  'ES I1 IN CS CR ES CO CE ES SS SR SA RJ CL', // input only
  'I1 IN IN IN IN IN CO CE ES SS SR SA IN IN',
  'CE CE CE CE CE CE CO CE ES SS SR SA RJ CL',
  'ES ES ES ES ES ES CO CE ES SS SR SA RJ CL',
  'ES I1 IN ES ES CW ES ES ES SS SR SA RJ CL',
  'SR I1 IN CS CR CW CO CE SR SS SR SA RJ CL',
  'CL IN IN CS CR CW CO CE CL CL SR CL RJ CL',
  'CL CL CL CL CL CW CO CE ES SS CL CL RJ CL',
  'CL I1 IN CS CR CW CO CE ES SS SR SA RJ CL',
  'CL CL CL CL CL RJ CL CL CL CL CL CL CL CL',
]);

/** The event of each SCTP chunk type (RFC 9260, 3.2), by type number; types behind the table are `data`. */
// biome-ignore format: as a table
export const sctpChunkEvents: readonly SctpEvent[] = [
  'data', 'init', 'init-ack', 'data', 'data', 'data', 'abort', 'shutdown',
  'shutdown-ack', 'error', 'cookie-echo', 'cookie-ack', 'data', 'data', 'shutdown-complete',
];

const sctpAbort = 6;

/**
 * The event of an SCTP packet by the types of its chunks. The first chunk decides, except that an ABORT behind a
 * COOKIE-ECHO or COOKIE-ACK aborts.
 */
export function sctpEvent(first: number, second?: number): SctpEvent {
  const event = sctpChunkEvents[first] ?? 'data';
  const cookie = event === 'cookie-echo' || event === 'cookie-ack';
  return cookie && second === sctpAbort ? 'abort' : event;
}

/** The state after an SCTP packet. */
export function nextSctpState(state: number, direction: Direction, event: SctpEvent): number {
  return sctpTransitions[directions.indexOf(direction) * sctpEvents.length + sctpEvents.indexOf(event)]![
    state
  ]!;
}

function readTable(codes: readonly string[], rows: readonly string[]): Transitions {
  return rows.map((row) => row.split(' ').map((code) => codes.indexOf(code)));
}
