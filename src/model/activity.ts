/** What becomes of packets and connections that do not go the usual way. A data plane counts those it can tell. */
export const planeEvents = [
  'table_full',
  'no_destination',
  'destination_gone',
  'fragment_lost',
  'ttl',
  'too_big',
  'no_route',
  'malformed',
  'contention',
  'held',
  'icmp_sent',
  'icmp_limited',
  'fragmented',
  'connection_ended',
  'connection_reset',
  'lease_lapsed',
  'awaited',
  'half_open_ended',
  'entry_dropped',
  'refused',
  'no_local_end',
  'ftp_no_room',
  'ftp_refused',
  'fragment_unknown',
  'no_call_id',
  'connect_failed',
  'datagram_dropped',
  'accept_failed',
] as const;
export type PlaneEvent = (typeof planeEvents)[number];

/** What a data plane is busy with. */
export type Activity = {
  /** Entries of the connection table. */
  readonly entries: number;
  /** Since the plane was set up. */
  readonly events: Readonly<Partial<Record<PlaneEvent, bigint>>>;
};
