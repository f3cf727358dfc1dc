import { randomBytes } from 'node:crypto';
import { CheckFailure, type CheckOf, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import {
  decodeMessage,
  encodePassword,
  encodeQuery,
  encodeSasl,
  encodeSaslStart,
  encodeStartup,
  encodeTerminate,
  encodeTlsRequest,
  hashedPassword,
  PostgresqlError,
  type PostgresqlMessage,
} from './postgresql-message.ts';
import { clientFinal, clientFirst, ScramError, wantServerProof } from './scram.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

const longestMessage = 1024 * 1024;
const mostMessages = 500;
const mechanism = 'SCRAM-SHA-256';
/** Who knocks where no user is given. */
const nobody = 'headgate';
/** Errors that only who may come in is told: about the user and the database (classes 28 and 3D of SQLSTATE). */
const isAboutUser = (code: string): boolean => code.startsWith('28') || code.startsWith('3D');

/**
 * Signs in and asks, where a query is given, which must give a row. Without a user it only knocks, as pg_isready(1) does:
 * a server that wants a password or does not know the user is there.
 */
export const runPostgresql: RunCheck<'postgresql'> = async (check, context) =>
  await converse(context, { source: check.source }, async (dialogue) => {
    if (check.transport === 'startTls') await startTls(check, dialogue);
    const { user = nobody, database } = check;
    await dialogue.send(encodeStartup(user, database), `startup as "${shownText(user)}"`);
    const detail = check.user === undefined ? await knock(dialogue) : await ask(check, check.user, dialogue);
    await dialogue.farewell(encodeTerminate(), 'terminate');
    return withExpiry(detail, dialogue.session(), check);
  });

async function startTls(check: CheckOf<'postgresql'>, dialogue: Dialogue): Promise<void> {
  await dialogue.send(encodeTlsRequest(), 'SSLRequest');
  const answer = (await dialogue.readBytes(1)).toString('latin1');
  if (answer === 'N') throw new CheckFailure('tls', 'the server does not speak TLS');
  if (answer !== 'S')
    throw new CheckFailure('expect', `got "${shownText(answer)}" for SSLRequest, want S or N`);
  await dialogue.startTls(check);
}

async function knock(dialogue: Dialogue): Promise<string> {
  const answer = await readMessage(dialogue);
  if (answer.kind !== 'error') return 'takes connections';
  if (isAboutUser(answer.code)) return `takes connections: ${shownText(answer.text)}`;
  throw failure(answer);
}

async function ask(check: CheckOf<'postgresql'>, user: string, dialogue: Dialogue): Promise<string> {
  await signIn(user, check.password, dialogue);
  await readUntil(dialogue, ['ready']);
  if (check.query === undefined) return 'signed in';
  await dialogue.send(encodeQuery(check.query), `query: ${shownText(check.query)}`);
  const { kind } = await readUntil(dialogue, ['row', 'ready']);
  if (kind === 'row') return 'got a row';
  throw new CheckFailure('expect', 'got no row, want one');
}

async function signIn(user: string, password: string | undefined, dialogue: Dialogue): Promise<void> {
  const wanted = await readUntil(dialogue, [
    'signedIn',
    'wantsPassword',
    'wantsMd5',
    'wantsSasl',
    'wantsUnknown',
  ]);
  if (wanted.kind === 'signedIn') return;
  if (password === undefined)
    throw new CheckFailure('expect', 'the server wants a password, and none is given');
  switch (wanted.kind) {
    case 'wantsPassword':
      await dialogue.send(encodePassword(password), 'password');
      break;
    case 'wantsMd5':
      await dialogue.send(encodePassword(hashedPassword(user, password, wanted.salt)), 'password (md5)');
      break;
    case 'wantsSasl':
      await signInByScram(wanted.mechanisms, password, dialogue);
      break;
    case 'wantsUnknown':
      throw new CheckFailure(
        'expect',
        `the server wants authentication ${wanted.method}, which is not known here`,
      );
  }
  await readUntil(dialogue, ['signedIn']);
}

async function signInByScram(
  mechanisms: readonly string[],
  password: string,
  dialogue: Dialogue,
): Promise<void> {
  if (!mechanisms.includes(mechanism)) {
    throw new CheckFailure(
      'expect',
      `the server takes ${shownText(mechanisms.join(', '))}, want ${mechanism}`,
    );
  }
  // The user was named at startup.
  const account = { user: '', password, nonce: randomBytes(18).toString('base64') };
  try {
    await dialogue.send(encodeSaslStart(mechanism, clientFirst('', account.nonce)), mechanism);
    const first = await readUntil(dialogue, ['saslContinues']);
    const final = await clientFinal(account, first.data);
    await dialogue.send(encodeSasl(final.message), `${mechanism} proof`);
    wantServerProof(final, (await readUntil(dialogue, ['saslEnds'])).data);
  } catch (error) {
    if (error instanceof ScramError) throw new CheckFailure('expect', error.message);
    throw error;
  }
}

/** Reads until a message of one of these kinds comes; an error is a failure. */
async function readUntil<Kind extends PostgresqlMessage['kind']>(
  dialogue: Dialogue,
  kinds: readonly Kind[],
): Promise<PostgresqlMessage & { readonly kind: Kind }> {
  for (let i = 0; i < mostMessages; i++) {
    const message = await readMessage(dialogue);
    if (message.kind === 'error') throw failure(message);
    if ((kinds as readonly string[]).includes(message.kind)) {
      return message as PostgresqlMessage & { readonly kind: Kind };
    }
  }
  throw new CheckFailure('expect', `more than ${mostMessages} messages, none of them ${kinds.join(' or ')}`);
}

function failure({ code, text }: { readonly code: string; readonly text: string }): CheckFailure {
  return new CheckFailure('expect', `the server says ${shownText(code)}: ${shownText(text)}`);
}

async function readMessage(dialogue: Dialogue): Promise<PostgresqlMessage> {
  const head = await dialogue.readBytes(5);
  const type = head.toString('latin1', 0, 1);
  const length = head.readUInt32BE(1) - 4;
  if (!/[A-Za-z0-9]/.test(type) || length < 0 || length > longestMessage) {
    throw new CheckFailure('expect', `the answer is not PostgreSQL: it begins with "${shownText(head)}"`);
  }
  try {
    return decodeMessage(type, length === 0 ? Buffer.alloc(0) : await dialogue.readBytes(length));
  } catch (error) {
    if (error instanceof PostgresqlError) {
      throw new CheckFailure('expect', `the answer is not PostgreSQL: ${error.message}`);
    }
    throw error;
  }
}
