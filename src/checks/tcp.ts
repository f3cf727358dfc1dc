import type { CheckOf, RunCheck } from './check.ts';
import { wantsContent } from './content.ts';
import { converse } from './dialogue.ts';
import { exchange } from './exchange.ts';
import { connectOnly } from './knock.ts';

/** Connects: the handshake of TCP is good enough where nothing is to be read. */
export const runTcp: RunCheck<'tcp'> = async (check, context) =>
  isPlain(check) && process.platform === 'linux'
    ? await connectOnly(context, check.source)
    : await converse(context, check, async (dialogue) => ({
        detail: (await exchange(dialogue, check)) ?? 'connected',
      }));

function isPlain(check: CheckOf<'tcp'>): boolean {
  return check.send === undefined && !check.endSending && !wantsContent(check);
}
