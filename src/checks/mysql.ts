import { CheckFailure, type CheckOf, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import {
  type AuthPlugin,
  decodeAnswerStart,
  decodeGreeting,
  decodePacket,
  encodeLogin,
  encodeQuery,
  encodeQuit,
  encodeTlsRequest,
  encryptedPassword,
  errorIn,
  type Greeting,
  isEnd,
  MysqlError,
  type MysqlPacket,
  proofOf,
  terminated,
} from './mysql-message.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

const longestPacket = 1024 * 1024;
const mostSteps = 10;
const mostColumns = 4096;
/** Words of caching_sha2_password. */
const steps = { known: 3, wantsPassword: 4, askForKey: 2 } as const;

/** Signs in where a user is given, asks where a query is given, which must give a row; else reads the greeting. */
export const runMysql: RunCheck<'mysql'> = async (check, context) =>
  await converse(context, { source: check.source }, async (dialogue) => {
    try {
      const detail = await talk(check, packetsOver(dialogue));
      return withExpiry(detail, dialogue.session(), check);
    } catch (error) {
      if (error instanceof MysqlError)
        throw new CheckFailure('expect', `the answer is not MySQL: ${error.message}`);
      throw error;
    }
  });

async function talk(check: CheckOf<'mysql'>, packets: Packets): Promise<string> {
  const greeting = decodeGreeting(await packets.read());
  if ('kind' in greeting) throw failure(greeting);
  const version = shownText(greeting.version);
  if (check.transport === 'startTls') {
    if (!greeting.hasTls) throw new CheckFailure('tls', 'the server does not speak TLS');
    await packets.send(encodeTlsRequest(check.database !== undefined), 'SSLRequest');
    await packets.dialogue.startTls(check);
  }
  if (check.user === undefined) return version;
  await signIn(check, check.user, greeting, packets);
  const detail = check.query === undefined ? `${version}, signed in` : await ask(check.query, packets);
  packets.startAgain();
  await packets.quit();
  return detail;
}

async function signIn(
  check: CheckOf<'mysql'>,
  user: string,
  greeting: Greeting,
  packets: Packets,
): Promise<void> {
  const { password = '', database } = check;
  const withTls = check.transport === 'startTls';
  // A server says what it would like; what is not known here it may change for what the account has.
  let plugin: AuthPlugin = isKnown(greeting.plugin, withTls) ? greeting.plugin : 'mysql_native_password';
  let { salt } = greeting;
  const login = { user, database, plugin, proof: proofOf(plugin, password, salt), withTls };
  await packets.send(encodeLogin(login), `login of "${shownText(user)}" with ${plugin}`);
  for (let i = 0; i < mostSteps; i++) {
    const packet = decodePacket(await packets.read());
    switch (packet.kind) {
      case 'ok':
        return;
      case 'error':
        throw failure(packet);
      case 'switch':
        if (!isKnown(packet.plugin, withTls)) throw unknownPlugin(packet.plugin, withTls);
        ({ plugin, salt } = packet as { plugin: AuthPlugin; salt: Buffer });
        await packets.send(proofOf(plugin, password, salt), `proof of the password with ${plugin}`);
        break;
      case 'more':
        await goOn(packet.data, { password, salt, withTls }, packets);
    }
  }
  throw new CheckFailure('expect', `more than ${mostSteps} packets without an end of the login`);
}

/** A step of caching_sha2_password: a server that has not seen the password since it started wants all of it. */
async function goOn(
  data: Buffer,
  {
    password,
    salt,
    withTls,
  }: { readonly password: string; readonly salt: Buffer; readonly withTls: boolean },
  packets: Packets,
): Promise<void> {
  if (data[0] === steps.known) return;
  if (data[0] !== steps.wantsPassword) throw new MysqlError(`step ${data[0] ?? 'none'} of a login`);
  if (withTls) return packets.send(terminated(password), 'password');
  await packets.send(Buffer.of(steps.askForKey), 'request for the public key');
  const key = decodePacket(await packets.read());
  if (key.kind === 'error') throw failure(key);
  if (key.kind !== 'more') throw new MysqlError('no public key');
  await packets.send(encryptedPassword(password, salt, key.data), 'password (encrypted)');
}

/** Asks, and reads no further than the first row. */
async function ask(query: string, packets: Packets): Promise<string> {
  packets.startAgain();
  await packets.send(encodeQuery(query), `query: ${shownText(query)}`);
  const answer = decodeAnswerStart(await packets.read());
  if ('kind' in answer) throw failure(answer);
  if (answer.columns > mostColumns) throw new MysqlError(`${answer.columns} columns`);
  // What comes after the columns ends them.
  for (let i = 0; answer.columns > 0 && i <= answer.columns; i++) await packets.read();
  const row = answer.columns > 0 ? await packets.read() : undefined;
  if (row?.[0] === 0xff) throw failure(errorIn(row));
  if (!row || isEnd(row)) throw new CheckFailure('expect', 'got no row, want one');
  return 'got a row';
}

function isKnown(plugin: string, withTls: boolean): plugin is AuthPlugin {
  return (
    plugin === 'mysql_native_password' ||
    plugin === 'caching_sha2_password' ||
    // A password that everyone can read is not sent.
    (withTls && plugin === 'mysql_clear_password')
  );
}

function unknownPlugin(plugin: string, withTls: boolean): CheckFailure {
  const reason =
    plugin === 'mysql_clear_password' && !withTls
      ? 'the server wants the password as it is: it is sent with "transport: startTls" only'
      : `the server wants ${shownText(plugin)}, which is not known here`;
  return new CheckFailure('expect', reason);
}

function failure({ code, text }: Extract<MysqlPacket, { kind: 'error' }>): CheckFailure {
  return new CheckFailure('expect', `the server says ${code}: ${shownText(text)}`);
}

/** Packets over a connection; both sides count them together. */
type Packets = ReturnType<typeof packetsOver>;

function packetsOver(dialogue: Dialogue) {
  let sequence = 0;
  const packet = (payload: Buffer): Buffer => {
    const head = Buffer.alloc(4);
    head.writeUIntLE(payload.length, 0, 3);
    head[3] = sequence;
    sequence = (sequence + 1) & 0xff;
    return Buffer.concat([head, payload]);
  };
  return {
    dialogue,
    /** A command begins to count again. */
    startAgain: () => {
      sequence = 0;
    },
    async send(payload: Buffer, shown: string): Promise<void> {
      await dialogue.send(packet(payload), shown);
    },
    quit: () => dialogue.farewell(packet(encodeQuit()), 'quit'),
    async read(): Promise<Buffer> {
      const head = await dialogue.readBytes(4);
      const length = head.readUIntLE(0, 3);
      if (length === 0 || length > longestPacket) throw new MysqlError(`it begins with "${shownText(head)}"`);
      if (head[3] !== sequence) throw new MysqlError(`packet ${head[3]}, want ${sequence}`);
      sequence = (sequence + 1) & 0xff;
      return dialogue.readBytes(length);
    },
  };
}
