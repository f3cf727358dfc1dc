import * as z from 'zod';
import { type Address, parseAddress } from '../model/address.ts';
import { moves } from '../model/move.ts';
import { isReason, overrideStates } from '../model/override.ts';
import type { Question } from '../model/question.ts';
import type { Operation } from '../model/table.ts';
import { clientAddressWords, methodNames, schedulerNames, whenGoneWords } from '../model/virtual-service.ts';

/** What clients may send. The table's own rules (src/model/validate.ts) come after these. */

const address = z.string().transform((text, context): Address => {
  const parsed = parseAddress(text);
  if (parsed !== undefined) return parsed;
  context.issues.push({ code: 'custom', message: 'wanted an IPv4 or IPv6 address', input: text });
  return z.NEVER;
});
const whole = z.int();
const port = whole.min(1).max(65_535);
const protocol = z.enum(['tcp', 'udp', 'sctp']);
const family = z.union([z.literal(4), z.literal(6)]);

const serviceId = z.union([
  z.strictObject({
    kind: z.literal('address'),
    protocol,
    address,
    port: whole,
  }),
  z.strictObject({ kind: z.literal('fwmark'), mark: whole, family }),
]);

const service = z.strictObject({
  id: serviceId,
  scheduler: z.enum([...schedulerNames, 'none']),
  schedulerFlags: z.strictObject({ flag1: z.boolean(), flag2: z.boolean(), flag3: z.boolean() }),
  persistence: z
    .strictObject({ timeoutSeconds: whole, netmask: whole, engine: z.string().exactOptional() })
    .exactOptional(),
  onePacket: z.boolean(),
  whenGone: z.enum(whenGoneWords).exactOptional(),
});

const destination = z.strictObject({
  address,
  port: whole,
  method: z.enum(methodNames),
  weight: whole,
  upperThreshold: whole,
  lowerThreshold: whole,
  tunnel: z
    .strictObject({
      type: z.enum(['ipip', 'gue', 'gre']),
      port: whole,
      checksum: z.enum(['none', 'checksum', 'remote']),
    })
    .exactOptional(),
  fullNat: z
    .strictObject({ localAddresses: z.array(address), clientAddress: z.enum(clientAddressWords) })
    .exactOptional(),
});

const kind = <Kind extends string>(name: Kind) => z.literal(name);

const operation = z.discriminatedUnion('kind', [
  z.strictObject({ kind: kind('add-service'), service }),
  z.strictObject({ kind: kind('edit-service'), service }),
  z.strictObject({ kind: kind('delete-service'), id: serviceId }),
  z.strictObject({ kind: kind('add-destination'), id: serviceId, destination }),
  z.strictObject({ kind: kind('edit-destination'), id: serviceId, destination }),
  z.strictObject({
    kind: kind('delete-destination'),
    id: serviceId,
    // More of it than its name may come along.
    destination: z.object({ address, port: whole }),
  }),
  z.strictObject({
    kind: kind('set-timeouts'),
    timeouts: z.strictObject({
      tcp: whole.exactOptional(),
      tcpFin: whole.exactOptional(),
      udp: whole.exactOptional(),
    }),
  }),
  z.strictObject({
    kind: kind('set-sysctls'),
    sysctls: z.strictObject({
      amemthresh: whole.exactOptional(),
      am_droprate: whole.exactOptional(),
      drop_entry: whole.exactOptional(),
      drop_packet: whole.exactOptional(),
      secure_tcp: whole.exactOptional(),
      expire_nodest_conn: whole.exactOptional(),
      expire_quiescent_template: whole.exactOptional(),
      sloppy_tcp: whole.exactOptional(),
      sloppy_sctp: whole.exactOptional(),
      pmtu_disc: whole.exactOptional(),
      conn_reuse_mode: whole.exactOptional(),
      lblc_expiration: whole.exactOptional(),
      lblcr_expiration: whole.exactOptional(),
      nat_icmp_send: whole.exactOptional(),
      schedule_icmp: whole.exactOptional(),
      cache_bypass: whole.exactOptional(),
      ignore_tunneled: whole.exactOptional(),
      sync_threshold: whole.exactOptional(),
      sync_period: whole.exactOptional(),
      sync_refresh_period: whole.exactOptional(),
      sync_retries: whole.exactOptional(),
      sync_ports: whole.exactOptional(),
      sync_persist_mode: whole.exactOptional(),
      sync_qlen_max: whole.exactOptional(),
      sync_sock_size: whole.exactOptional(),
      sync_version: whole.exactOptional(),
      half_open_share: whole.exactOptional(),
      mh_tab_index: whole.exactOptional(),
      ftp_ports: z.array(whole).exactOptional(),
    }),
  }),
  z.strictObject({ kind: kind('zero'), id: serviceId.exactOptional() }),
  z.strictObject({ kind: kind('flush') }),
]) satisfies z.ZodType<Operation>;

const line = z.string().refine(isReason, 'wanted one line of up to 200 characters');

export const requests = {
  operations: z.strictObject({ operations: z.array(operation).max(1_000_000) }),
  outlook: z.strictObject({ service: serviceId.exactOptional(), addresses: z.array(address).max(100_000) }),
  check: z.strictObject({ realServer: line }),
  describe: z.strictObject({ name: z.string().max(1000) }),
  explain: z.strictObject({
    protocol: protocol.default('tcp'),
    client: z.strictObject({ address, port: port.exactOptional() }),
    virtual: z.strictObject({ address, port }),
    mark: whole.min(0).max(0xffff_ffff).exactOptional(),
  }) satisfies z.ZodType<Question>,
  overrides: z.strictObject({
    realServer: line,
    state: z.enum([...overrideStates, 'ready']),
    reason: line.exactOptional(),
    by: line.default('the control API'),
    yes: z.boolean().default(false),
  }),
  failover: z.strictObject({
    name: line.exactOptional(),
    to: address.exactOptional(),
    back: z.boolean().default(false),
    yes: z.boolean().default(false),
    by: line.default('the control API'),
  }),
  migrate: z.strictObject({ move: z.enum(moves), yes: z.boolean().default(false) }),
  rollback: z.strictObject({
    generation: whole.positive(),
    dropRuntimeChanges: z.boolean().default(false),
    yes: z.boolean().default(false),
  }),
  reload: z.strictObject({ dropRuntimeChanges: z.boolean().default(false), yes: z.boolean().default(false) }),
} as const;
