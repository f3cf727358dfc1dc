import { CheckFailure, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import { inCommand } from './reply.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

/** Reads the greeting, signs in where a user is given (RFC 1939; STLS: RFC 2595, section 4). */
export const runPop: RunCheck<'pop'> = async (check, context) => {
  const tls = check.transport === 'tls' ? check : undefined;
  return await converse(context, { source: check.source, tls }, async (dialogue) => {
    let detail = await wantOk(dialogue);
    if (check.transport === 'startTls') {
      await wantOk(dialogue, 'STLS');
      await dialogue.startTls(check);
    }
    if (check.user !== undefined) {
      await wantOk(dialogue, `USER ${inCommand(check.user, 'user')}`);
      detail = await wantOk(dialogue, `PASS ${inCommand(check.password ?? '', 'password')}`, 'PASS ***');
    }
    await dialogue.farewell('QUIT\r\n');
    return withExpiry(detail, dialogue.session(), check);
  });
};

/** Sends a command, if any, and gives the answer, which must begin with +OK. */
async function wantOk(dialogue: Dialogue, command?: string, shown?: string): Promise<string> {
  if (command !== undefined) await dialogue.send(`${command}\r\n`, shown);
  const line = await dialogue.readLine();
  if (/^\+OK\b/.test(line)) return shownText(line);
  const after = command === undefined ? '' : ` for ${shown ?? shownText(command)}`;
  throw new CheckFailure('expect', `got "${shownText(line)}"${after}, want +OK`);
}
