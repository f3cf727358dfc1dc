import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Move, Moved, MovePlan } from '../model/move.ts';
import { ask, canAsk } from './ask.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';

/** `migrate`: what moving from one data plane in the kernel to the other comes to, and with a word it is done. */
export async function migrate(
  move: Move,
  { output, yes = false }: { readonly output: Output; readonly yes?: boolean },
  streams: Streams,
): Promise<void> {
  const daemon = await openDaemon();
  if (daemon)
    throw new HeadgateError(
      'HG_DAEMON',
      `Cannot move while the daemon (process ${daemon.status.pid}) holds the data plane ${daemon.status.dataPlane.name}`,
      {
        hint: `End it, which goes on forwarding, and start it again: systemctl stop headgate; headgate migrate ${move} --yes; systemctl start headgate`,
      },
    );
  const { openMove } = await import('../control/migrate.ts');
  const opened = await openMove(move);
  try {
    const { plan } = opened;
    const isText = output === 'text';
    if (isText) streams.stdout.write(planText(plan));
    if (!plan.needed) {
      if (!isText) await write(streams, output, { ...plan, done: false }, () => '');
      return;
    }
    if (!yes) {
      if (!isText) await write(streams, output, { ...plan, done: false }, () => '');
      await consent(move);
    }
    const moved = await opened.carryOut((text) => streams.stderr.write(`headgate: ${text}\n`));
    await write(streams, output, moved, () => movedText(moved));
  } finally {
    await opened.close();
  }
}

async function consent(move: Move): Promise<void> {
  const hint = `headgate migrate ${move} --yes`;
  if (!canAsk())
    throw new HeadgateError('HG_NEEDS_YES', 'Cannot move without --yes: nothing was done', { hint });
  const answer = await ask('Move them? Type yes: ');
  if (answer !== 'yes')
    throw new HeadgateError('HG_NEEDS_YES', `Not done: the answer was "${answer}"`, { hint });
}

const sides = (move: Move) => move.split('-to-') as [string, string];

function planText({ move, needed, left, notes, ...what }: MovePlan): string {
  const [from, to] = sides(move);
  if (!needed) return `Nothing to move: ${from} has nothing here that ${to} could take over.\n`;
  const lines = [
    `From ${from} to ${to}: ${count(what.services, 'virtual service')} with ${count(what.realServers, 'real server')}, ` +
      `${count(what.connections, 'connection')}, ${count(what.templates, 'persistence template')}.`,
    'Does not come along:',
    ...left.map((one) => `  ${one.what}: ${one.why}`),
    ...(notes.length > 0 ? ['Afterwards:', ...notes.map((note) => `  ${note}`)] : []),
  ];
  return `${lines.join('\n')}\n`;
}

function movedText({ move, carried, late, refused, windowMs }: Moved): string {
  const [, to] = sides(move);
  const lines = [
    `The data plane is ${to} now: ${carried + late} connections and templates came along, ${late} of them in the last ${windowMs} ms.`,
    ...(refused > 0
      ? [`${count(refused, 'connection')} found no place there; the old side keeps them where it can.`]
      : []),
  ];
  return `${lines.join('\n')}\n`;
}
