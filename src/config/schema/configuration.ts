import type { z } from 'zod';
import { alerts } from './alerts.ts';
import { failover } from './failover.ts';
import { flag, key, list, object, seconds, size, text, word } from './keys.ts';
import { virtualService } from './service.ts';

/** The greatest timeout the kernel takes: jiffies in an int, 1000 a second at most. */
const longestTimeoutSeconds = Math.floor((2 ** 31 - 1) / 1000);

const timeout = () => seconds(1, longestTimeoutSeconds).optional();
const asFound = 'as the data plane has it';

/** headgate.yaml, the whole of it: the one truth about types, documentation and what editors know. */
export const configuration = object({
  include: key(
    list(text('the name of a file, or a pattern'), 'files').default([]),
    'Files that are read as if they stood here, relative to this one: lists follow each other, everything else may be given once. `*` and `?` stand for signs within a name; files come sorted.',
    { examples: [['conf.d/*.yaml']], kind: 'list of files' },
  ),
  dataPlane: key(
    word('auto', 'ebpf', 'ipvs', 'proxy').default('auto'),
    'Who forwards: a BPF program, the kernel’s IPVS, or sockets of this process. `auto` takes the first of them that works here.',
  ),
  connectionTable: key(
    size(1024, 64 * 1024 * 1024).optional(),
    'Connections the table of the `ebpf` data plane has room for, taken when it is set up.',
    { examples: ['1Mi'], leftOut: '1Mi' },
  ),
  own: key(
    flag().default(false),
    'Whether virtual services that are not described here are deleted. Otherwise they are left alone.',
  ),
  timeouts: key(
    object({
      tcp: key(timeout(), 'Established TCP connections.', { examples: ['15m'], leftOut: asFound }),
      tcpFin: key(timeout(), 'TCP connections after a FIN.', { examples: ['2m'], leftOut: asFound }),
      udp: key(timeout(), 'UDP.', { examples: ['5m'], leftOut: asFound }),
    }).optional(),
    'How long a connection without packets is remembered.',
    { leftOut: asFound },
  ),
  virtualServices: key(list(virtualService, 'virtual services').default([]), 'What clients reach.'),
  failover: key(failover.optional(), 'How directors stand in for each other.', {
    leftOut: 'this director is alone',
  }),
  alerts: key(alerts.optional(), 'Who is told of events, and how.', { leftOut: 'nobody' }),
});

/** A configuration as it is once read: defaults filled in, durations in numbers, addresses in canonical form. */
export type Configuration = z.output<typeof configuration>;
export type ServiceConfiguration = Configuration['virtualServices'][number];
export type RealServerConfiguration = ServiceConfiguration['realServers'][number];
export type FailoverConfiguration = NonNullable<Configuration['failover']>;
export type AlertsConfiguration = NonNullable<Configuration['alerts']>;
