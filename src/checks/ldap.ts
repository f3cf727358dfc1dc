import { BerError, berTags, lengthBytes } from './ber.ts';
import { CheckFailure, type CheckOf, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import {
  decodeAnswer,
  encodeBind,
  encodeRead,
  encodeStartTls,
  encodeUnbind,
  type LdapAnswer,
} from './ldap-message.ts';
import { matches } from './pattern.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

/** An entry without attributes and a result have far less. */
const longestMessage = 65_536;
/** References and notices that may come between an entry and the end of its search. */
const mostMessages = 100;

/** Signs in where a user is given and reads an entry, which must be there. */
export const runLdap: RunCheck<'ldap'> = async (check, context) => {
  const tls = check.transport === 'tls' ? check : undefined;
  return await converse(context, { source: check.source, tls }, async (dialogue) => {
    if (check.transport === 'startTls') {
      await dialogue.send(encodeStartTls(1), 'StartTLS');
      await wantSuccess(dialogue, 1, 'extended', 'StartTLS');
      await dialogue.startTls(check);
    }
    if (check.user !== undefined) {
      const what = `bind of "${shownText(check.user)}"`;
      await dialogue.send(encodeBind(2, check.user, check.password ?? ''), what);
      await wantSuccess(dialogue, 2, 'bind', what);
    }
    await dialogue.send(encodeRead(3, check.base), `search of "${shownText(check.base)}"`);
    const { entries } = await wantSuccess(dialogue, 3, 'search', `search of "${shownText(check.base)}"`);
    const detail = judge(check, entries);
    await dialogue.farewell(encodeUnbind(4), 'unbind');
    return withExpiry(detail, dialogue.session(), check);
  });
};

function judge({ matches: wanted, matchOptions }: CheckOf<'ldap'>, entries: readonly string[]): string {
  const [name] = entries;
  if (name === undefined || entries.length > 1) {
    throw new CheckFailure('expect', `got ${entries.length === 0 ? 'no' : entries.length} entries, want one`);
  }
  if (wanted !== undefined && !matches(wanted, matchOptions, name)) {
    throw new CheckFailure('expect', `got "${shownText(name)}", want a match of /${shownText(wanted)}/`);
  }
  return name === '' ? 'the root' : shownText(name);
}

/** Reads until an operation ends, which must be a success, and gives the entries that came before. */
async function wantSuccess(
  dialogue: Dialogue,
  id: number,
  kind: 'bind' | 'search' | 'extended',
  what: string,
): Promise<{ readonly entries: readonly string[] }> {
  const entries: string[] = [];
  for (let i = 0; i < mostMessages; i++) {
    const answer = await readAnswer(dialogue);
    if (answer.id === 0 && answer.kind === 'extended') {
      throw new CheckFailure('expect', `the server ends the connection: ${shownText(answer.text)}`);
    }
    if (answer.id !== id) continue;
    if (answer.kind === 'entry') entries.push(answer.name);
    if (answer.kind !== kind) continue;
    if (answer.code !== 0) {
      throw new CheckFailure('expect', `got ${shownText(answer.text)} for ${what}, want success`);
    }
    return { entries };
  }
  throw new CheckFailure('expect', `more than ${mostMessages} messages for ${what}`);
}

/** Reads a message: its tag and length say how long it is. */
async function readAnswer(dialogue: Dialogue): Promise<LdapAnswer> {
  try {
    const head = await dialogue.readBytes(2);
    if (head[0] !== berTags.sequence) throw new BerError(`it begins with "${shownText(head)}"`);
    const count = lengthBytes(head[1]!);
    const more = count === 0 ? Buffer.alloc(0) : await dialogue.readBytes(count);
    const length = count === 0 ? head[1]! : more.readUIntBE(0, count);
    if (length > longestMessage) throw new BerError(`a message of ${length} bytes`);
    return decodeAnswer(Buffer.concat([head, more, await dialogue.readBytes(length)]));
  } catch (error) {
    if (error instanceof BerError) {
      throw new CheckFailure('expect', `the answer is not LDAP: ${error.message}`);
    }
    throw error;
  }
}
