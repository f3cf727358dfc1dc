import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import type { Observed } from '../model/table.ts';
import { ask, canAsk } from './ask.ts';
import { connectForRuntime, openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';

/** What there is to delete. */
export type Cleared = {
  readonly services: number;
  readonly realServers: number;
  readonly connections: number;
};

/** `clear`: every virtual service goes, as with `ipvsadm -C`, but not without a word. */
export async function clearTable(
  { output, yes = false }: { readonly output: Output; readonly yes?: boolean },
  streams: Streams,
): Promise<void> {
  const { stderr } = streams;
  const daemon = await openDaemon();
  const controller = await connectForRuntime('clear', stderr);
  try {
    const found = countAll(await controller.read());
    if (found.services > 0) {
      if (!yes) await consent(found, stderr);
      const [refusal] = await controller.apply([{ kind: 'flush' }]);
      if (refusal) throw new HeadgateError('HG_APPLY_REFUSED', `Cannot clear the table: ${refusal.detail}`);
    }
    await write(streams, output, found, () => clearedText(found));
    if (found.services === 0) return;
    const { readApplied } = await import('../control/applied.ts');
    const file = daemon?.status.configuration.file ?? readApplied(controller.directory)?.file;
    if (file === undefined) return;
    const back = daemon ? 'headgate reload' : `headgate apply ${file}`;
    stderr.write(`What ${file} describes of it stays away until: ${back} --drop-runtime-changes\n`);
  } finally {
    await controller.close();
  }
}

async function consent(found: Cleared, stderr: Streams['stderr']): Promise<void> {
  const hint = 'headgate clear --yes';
  const what = `it deletes ${allOf(found)}`;
  if (!canAsk())
    throw new HeadgateError('HG_NEEDS_YES', `Cannot clear the table without --yes: ${what}`, { hint });
  stderr.write(`This ends all service: ${what}.\n`);
  const answer = await ask('Delete them? Type clear: ');
  if (answer !== 'clear')
    throw new HeadgateError('HG_NEEDS_YES', `Not cleared: the answer was "${answer}"`, { hint });
}

/** What a table has, counted. */
export function countAll({ services }: Pick<Observed, 'services'>): Cleared {
  const all = services.flatMap(({ destinations }) => destinations);
  return {
    services: services.length,
    realServers: all.length,
    connections: all.reduce((sum, one) => sum + one.activeConnections + one.inactiveConnections, 0),
  };
}

function clearedText(found: Cleared): string {
  return found.services === 0
    ? 'Nothing to delete: there is no virtual service.\n'
    : `Deleted ${allOf(found)}.\n`;
}

const allOf = ({ services, realServers, connections }: Cleared): string =>
  `${count(services, 'virtual service')} with ${count(realServers, 'real server')} and ${count(connections, 'connection')}`;
