import type { RunCheck } from './check.ts';
import { converse } from './dialogue.ts';
import { exchange } from './exchange.ts';

/** Connects: the handshake of TCP is good enough where nothing is to be read. */
export const runTcp: RunCheck<'tcp'> = async (check, context) =>
  await converse(context, check, async (dialogue) => ({
    detail: (await exchange(dialogue, check)) ?? 'connected',
  }));
