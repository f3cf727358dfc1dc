import { CheckFailure, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import { inCommand } from './reply.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

/** Lines that may come before the one that answers a command. */
const mostLines = 200;

/** Reads the greeting, signs in where a user is given (RFC 3501; STARTTLS: its 6.2.1). */
export const runImap: RunCheck<'imap'> = async (check, context) => {
  const tls = check.transport === 'tls' ? check : undefined;
  return await converse(context, { source: check.source, tls }, async (dialogue) => {
    let detail = await greetingOf(dialogue);
    if (check.transport === 'startTls') {
      await wantOk(dialogue, 'a1', 'STARTTLS');
      await dialogue.startTls(check);
    }
    if (check.user !== undefined) {
      const user = quoted(check.user, 'user');
      const password = quoted(check.password ?? '', 'password');
      detail = await wantOk(dialogue, 'a2', `LOGIN ${user} ${password}`, `LOGIN ${user} ***`);
    }
    await dialogue.farewell('a3 LOGOUT\r\n');
    return withExpiry(detail, dialogue.session(), check);
  });
};

async function greetingOf(dialogue: Dialogue): Promise<string> {
  const line = await dialogue.readLine();
  if (/^\* (OK|PREAUTH)\b/i.test(line)) return shownText(line.slice(2));
  throw new CheckFailure('expect', `got "${shownText(line)}", want * OK`);
}

/** Sends a command and gives the answer with its tag, which must be OK. */
async function wantOk(dialogue: Dialogue, tag: string, command: string, shown = command): Promise<string> {
  await dialogue.send(`${tag} ${command}\r\n`, `${tag} ${shown}`);
  for (let count = 0; count < mostLines; count++) {
    const line = await dialogue.readLine();
    if (!line.startsWith(`${tag} `)) continue;
    const answer = line.slice(tag.length + 1);
    if (/^OK\b/i.test(answer)) return shownText(answer);
    throw new CheckFailure('expect', `got "${shownText(answer)}" for ${shown}, want OK`);
  }
  throw new CheckFailure('expect', `more than ${mostLines} lines without an answer to ${shown}`);
}

/** A quoted string (RFC 3501, 4.3). */
function quoted(text: string, key: string): string {
  return `"${inCommand(text, key).replace(/["\\]/g, '\\$&')}"`;
}
