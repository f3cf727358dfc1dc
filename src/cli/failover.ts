import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Remote } from '../api/client.ts';
import type { StatusReport } from '../control/status.ts';
import { parseAddress } from '../model/address.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import type { HandedOver, HandOver, HandOverRequest } from '../model/hand-over.ts';
import type { VrrpStatus } from '../model/vrrp.ts';
import { ask, canAsk } from './ask.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';

export type FailoverOptions = {
  readonly output: Output;
  readonly to?: string;
  readonly back?: boolean;
  readonly yes?: boolean;
};

/** How long it is waited until somebody has taken over. */
const patienceMs = 15_000;
const lookMs = 100;
/** What the daemon knows of its instances may be as old as this. */
const staleMs = 1_000;

/** `failover`: what it comes to, and with a word it is done. Exit code 1 when the addresses came back to this director. */
export async function failover(
  name: string | undefined,
  { output, to, back = false, yes = false }: FailoverOptions,
  streams: Streams,
): Promise<number> {
  const peer = to === undefined ? undefined : parseAddress(to);
  if (to !== undefined && peer === undefined)
    throw new HeadgateError('HG_USAGE', `Cannot hand over to "${to}": wanted an address`);
  const daemon = await openDaemon();
  if (!daemon)
    throw new HeadgateError('HG_FAILOVER', 'Cannot hand anything over: no daemon runs, and so no failover', {
      hint: 'headgate run FILE',
    });
  const request: HandOverRequest = {
    ...(name !== undefined && { name }),
    ...(peer !== undefined && { to: peer }),
    ...{ back, yes: false, by: person() },
  };
  const preview = await daemon.failover(request);
  const isText = output === 'text';
  if (isText) streams.stdout.write(previewText(preview));
  if (!yes) await consent(preview, name);
  await daemon.failover({ ...request, yes: true });
  const { ends, took } = await waitFor(daemon, preview);
  const value = { ...preview, done: true, ended: ends };
  await write(streams, output, value, () => endText(preview, ends, took));
  return !back && ends.some(({ state }) => state === 'master') ? exitCodes.failed : exitCodes.done;
}

const person = (): string => {
  try {
    return process.env.SUDO_USER ?? userInfo().username;
  } catch {
    return 'a person';
  }
};

async function consent(preview: HandOver, name: string | undefined): Promise<void> {
  const words = [
    'headgate failover',
    ...(name === undefined ? [] : [name]),
    ...(preview.back ? ['--back'] : []),
  ];
  const hint = [...words, '--yes'].join(' ');
  const verb = preview.back ? 'take back' : 'hand over';
  const what = preview.instances.map(({ instance }) => instance).join(', ');
  if (!canAsk())
    throw new HeadgateError('HG_NEEDS_YES', `Cannot ${verb} ${what} without --yes: nothing was done`, {
      hint,
    });
  const answer = await ask('Do it? Type yes: ');
  if (answer !== 'yes')
    throw new HeadgateError('HG_NEEDS_YES', `Not done: the answer was "${answer}"`, { hint });
}

/** Until every instance is where it goes, or for a while. */
async function waitFor(
  daemon: Remote,
  { back, instances }: HandOver,
): Promise<{ readonly ends: readonly VrrpStatus[]; readonly took: number }> {
  const from = performance.now();
  for (;;) {
    await sleep(lookMs);
    const took = performance.now() - from;
    const { vrrp = [] } = await daemon.report<StatusReport>();
    const ends = vrrp.filter((one) => instances.some(({ instance }) => instance === one.name));
    // A master that gives up has priority 0 until the next one speaks.
    const isTaken = ({ state, master }: VrrpStatus) =>
      back ? state === 'master' : state === 'backup' && master !== undefined && master.priority > 0;
    const isBack = ({ state, forMs }: VrrpStatus) => state === 'master' && forMs + staleMs < took;
    if (ends.every(isTaken) || (!back && ends.some(isBack)) || took > patienceMs) return { ends, took };
  }
}

function previewText({ back, instances, connectionsAreTold }: HandOver): string {
  const lines = instances.flatMap((one) => [
    `${one.instance} on ${one.interface}: ${one.state}, priority ${one.priority}, ${one.addresses.join(', ')}`,
    `  ${back ? 'is now with' : 'goes to'} ${whoText(one)}`,
    ...(one.services.length > 0 ? [`  services: ${one.services.map(serviceText).join(', ')}`] : []),
  ]);
  const active = instances.flatMap(({ services }) => services).reduce((sum, one) => sum + one.active, 0);
  const sync = connectionsAreTold
    ? 'the other director is told of them'
    : 'the other director does not know them: those that go on find no entry there';
  return `${[...lines, `${count(active, 'active connection')}; ${sync}`].join('\n')}\n`;
}

function whoText({ to, interface: device }: HandedOver): string {
  return to.length > 0
    ? to.join(' or ')
    : `whoever else speaks on ${device}: nobody was heard yet, and with nobody there it stays here after a gap`;
}

const serviceText = ({ name, active }: HandedOver['services'][number]): string =>
  `${name} (${active} active)`;

function endText({ back }: HandOver, ends: readonly VrrpStatus[], took: number): string {
  const lines = ends.map(({ name, state, reason, master }) => {
    if (back)
      return state === 'master'
        ? `${name} is master here again: ${reason}`
        : `${name} is ${state}: its priority does not bring it back; ${reason}`;
    if (state === 'master') return `${name} is master here again: ${reason}`;
    return master && master.priority > 0
      ? `${name} is with ${master.source} (priority ${master.priority}) now`
      : `${name} is ${state}: nobody was heard to take over yet`;
  });
  const stays = !back && ends.every(({ state }) => state !== 'master');
  return [
    ...lines,
    `It took ${(took / 1000).toFixed(1)} s.`,
    ...(stays ? ['This director stands back until the other one goes, or: headgate failover --back'] : []),
    '',
  ].join('\n');
}
