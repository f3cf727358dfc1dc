import { hostname } from 'node:os';
import { CheckFailure, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import { inCommand, readReply, replyText, wantReply } from './reply.ts';
import { withExpiry } from './tls-session.ts';

/** Reads the greeting, says EHLO (HELO to a server that knows no EHLO) and QUIT (RFC 5321; STARTTLS: RFC 3207). */
export const runSmtp: RunCheck<'smtp'> = async (check, context) => {
  const tls = check.transport === 'tls' ? check : undefined;
  return await converse(context, { source: check.source, tls }, async (dialogue) => {
    const greeting = await wantReply(dialogue, 'SMTP', undefined, [220]);
    const helo = inCommand(check.helo ?? hostname(), 'helo');
    const extensions = await sayHello(dialogue, helo);
    if (check.transport === 'startTls') {
      if (!extensions.some((line) => /^STARTTLS\b/i.test(line))) {
        throw new CheckFailure('tls', 'the server does not offer STARTTLS');
      }
      await wantReply(dialogue, 'SMTP', 'STARTTLS', [220]);
      await dialogue.startTls(check);
      await sayHello(dialogue, helo);
    }
    await dialogue.farewell('QUIT\r\n');
    return withExpiry(replyText(greeting), dialogue.session(), check);
  });
};

/** The extensions that the server names. */
async function sayHello(dialogue: Dialogue, helo: string): Promise<readonly string[]> {
  await dialogue.send(`EHLO ${helo}\r\n`);
  const reply = await readReply(dialogue, 'SMTP');
  if (reply.code === 250) return reply.lines.slice(1);
  // 500 and 502: a server from before extensions (RFC 5321, 3.2).
  if (reply.code !== 500 && reply.code !== 502) {
    throw new CheckFailure('expect', `got "${replyText(reply)}" for EHLO, want 250`);
  }
  await wantReply(dialogue, 'SMTP', `HELO ${helo}`, [250]);
  return [];
}
