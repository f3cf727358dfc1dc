import type { RunCheck } from './check.ts';
import { converse } from './dialogue.ts';
import { replyText, wantReply } from './reply.ts';

/** Reads the greeting: 200, or 201 where posting is not allowed (RFC 3977, 5.1). */
export const runNntp: RunCheck<'nntp'> = async (check, context) =>
  await converse(context, check, async (dialogue) => {
    const greeting = await wantReply(dialogue, 'NNTP', undefined, [200, 201]);
    await dialogue.farewell('QUIT\r\n');
    return { detail: replyText(greeting) };
  });
