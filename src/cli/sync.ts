import { kernelMaster } from '../control/kernel-table.ts';
import { type Sent, sendKernelConnections } from '../daemon/sync-send.ts';
import { parseAddress } from '../model/address.ts';
import { type SyncDaemon, syncDefaults } from '../model/connection-sync.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import { type StaysBecause, staysBecause } from '../model/travel.ts';
import type { Streams } from './context.ts';
import { type Output, writerOf } from './output.ts';

export type SyncSendOptions = {
  readonly output: Output;
  readonly interface?: string;
  readonly id?: string;
  readonly group?: string;
  readonly port?: string;
  readonly ttl?: string;
  readonly follow?: boolean;
};

/** `sync send`: what the kernel's IPVS has goes to the directors that listen. With `-f` it ends by a signal. */
export async function syncSend(options: SyncSendOptions, streams: Streams): Promise<void> {
  const daemon = placeOf(options, await kernelMaster());
  const show = await writerOf<Sent>(streams, options.output, (sent) => sentText(sent, daemon));
  const stop = new AbortController();
  const end = () => stop.abort();
  if (options.follow) for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, end);
  await sendKernelConnections({ daemon, ...(options.follow && { until: stop.signal }), onSent: show });
}

/** Where it goes: as the kernel's own master says, where the command line does not. */
export function placeOf(options: SyncSendOptions, master: SyncDaemon | undefined): SyncDaemon {
  const { group, id, port, ttl } = options;
  const name = options.interface ?? master?.interface;
  if (name === undefined)
    throw new HeadgateError(
      'HG_USAGE',
      'Cannot send without --interface: no master sync daemon of the kernel runs here that would say which one',
      { hint: 'headgate sync send --interface NAME' },
    );
  const to = group === undefined ? (master?.group ?? syncDefaults.group) : parseAddress(group);
  if (to === undefined)
    throw new HeadgateError('HG_USAGE', `Cannot send to "${group}": wanted an address for --group`);
  return {
    ...{ role: 'master', interface: name, group: to },
    id: numberIn('--id', id, 0, 255) ?? master?.id ?? syncDefaults.id,
    port: numberIn('--port', port, 1, 65_535) ?? master?.port ?? syncDefaults.port,
    ttl: numberIn('--ttl', ttl, 1, 255) ?? master?.ttl ?? syncDefaults.ttl,
    ...(master?.maxLength !== undefined && { maxLength: master.maxLength }),
  };
}

function numberIn(option: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot send: wanted a number from ${least} to ${most} for ${option}, found "${text}"`,
  );
}

/** One look in words. */
export function sentText({ connections, templates, messages, untold, whole }: Sent, to: SyncDaemon): string {
  const what = [
    count(connections, 'connection'),
    ...(templates > 0 ? [count(templates, 'persistence template')] : []),
  ];
  const place = `${to.group} port ${to.port} by ${to.interface}, sync id ${to.id}`;
  const sent = `${whole ? 'Sent' : 'New:'} ${what.join(' and ')} in ${count(messages, 'message')}`;
  const left = (Object.keys(untold) as StaysBecause[]).map(
    (reason) => `Not sent: ${untold[reason]}: ${staysBecause[reason]}`,
  );
  return `${[`${sent}${whole ? ` to ${place}` : ''}`, ...(whole ? left : [])].join('\n')}\n`;
}
