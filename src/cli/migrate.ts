import type { Remote } from '../api/client.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import { type Move, type Moved, type MovePlan, refuseBefore } from '../model/move.ts';
import { ask, canAsk } from './ask.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { tellUnderWay } from './under-way.ts';

/** A move that was looked at, by the daemon or, where none runs, in this process. */
type Looked = {
  readonly plan: MovePlan;
  carryOut(): Promise<Moved>;
  close(): Promise<void>;
};

/** `migrate`: what moving from one data plane in the kernel to the other comes to, and with a word it is done. */
export async function migrate(
  move: Move,
  { output, yes = false }: { readonly output: Output; readonly yes?: boolean },
  streams: Streams,
): Promise<void> {
  const daemon = await openDaemon('migrate');
  const looked = daemon ? await throughDaemon(move, daemon) : await inThisProcess(move, streams);
  try {
    const { plan } = looked;
    const isText = output === 'text';
    if (isText) streams.stdout.write(planText(plan));
    if (!plan.needed || !yes) {
      if (!isText) await write(streams, output, { ...plan, done: false }, () => '');
      if (!plan.needed) return;
      refuseBefore(plan);
      await consent(move);
    }
    const words = daemon ? 'The daemon moves them (Ctrl-C does not stop it)' : 'Moving them';
    const moved = await (isText ? tellUnderWay(streams, words, looked.carryOut) : looked.carryOut());
    await write(streams, output, moved, () => movedText(moved));
  } finally {
    await looked.close();
  }
}

async function throughDaemon(move: Move, daemon: Remote): Promise<Looked> {
  return {
    plan: await daemon.migrate({ move, yes: false }),
    async carryOut() {
      const answer = await daemon.migrate({ move, yes: true });
      if (answer.done) return answer;
      throw new HeadgateError('HG_MOVE', 'Nothing was done: there is nothing to move any more');
    },
    close: async () => undefined,
  };
}

async function inThisProcess(move: Move, { stderr }: Streams): Promise<Looked> {
  const { noteMove, openMove } = await import('../control/migrate.ts');
  const opened = await openMove(move);
  return {
    plan: opened.plan,
    async carryOut() {
      const moved = await opened.carryOut();
      noteMove(opened.directory, moved, (text) => stderr.write(`headgate: ${text}\n`));
      return moved;
    },
    close: opened.close,
  };
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

function planText({ move, needed, left, before, notes, ...what }: MovePlan): string {
  const [from, to] = sides(move);
  if (!needed) return `Nothing to move: ${from} has nothing here that ${to} could take over.\n`;
  const lines = [
    `From ${from} to ${to}: ${count(what.services, 'virtual service')} with ${count(what.realServers, 'real server')}, ` +
      `${count(what.connections, 'connection')}, ${count(what.templates, 'persistence template')}.`,
    ...(before.length > 0 ? ['Before:', ...before.map((one) => `  ${one}`)] : []),
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
