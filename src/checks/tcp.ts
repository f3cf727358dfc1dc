import type { RunCheck } from './check.ts';
import { converse } from './dialogue.ts';

/** Connects; the handshake of TCP is all that is wanted. */
export const runTcp: RunCheck<'tcp'> = async (check, context) =>
  await converse(context, { source: check.source }, async () => ({ detail: 'connected' }));
