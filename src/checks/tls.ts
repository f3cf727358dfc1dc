import type { RunCheck } from './check.ts';
import { converse } from './dialogue.ts';
import { exchange } from './exchange.ts';
import { withExpiry } from './tls-session.ts';

/** Connects and shakes hands: good where nothing is to be read; says when the certificate ends soon. */
export const runTls: RunCheck<'tls'> = async (check, context) =>
  await converse(context, { source: check.source, tls: check }, async (dialogue) => {
    const answer = await exchange(dialogue, check);
    const session = dialogue.session()!;
    return withExpiry(answer ?? session.version, session, check);
  });
