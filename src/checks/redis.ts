import { CheckFailure, type RunCheck } from './check.ts';
import { converse, type Dialogue } from './dialogue.ts';
import { shownText } from './shown-text.ts';
import { withExpiry } from './tls-session.ts';

/** Signs in where a password is given, says PING; the answer must be PONG (RESP, redis.io/docs/reference/protocol-spec). */
export const runRedis: RunCheck<'redis'> = async (check, context) => {
  const tls = check.transport === 'tls' ? check : undefined;
  return await converse(context, { source: check.source, tls }, async (dialogue) => {
    if (check.password !== undefined) {
      const who = check.user === undefined ? [] : [check.user];
      await want(dialogue, '+OK', ['AUTH', ...who, check.password], ['AUTH', ...who, '***'].join(' '));
    }
    await want(dialogue, '+PONG', ['PING'], 'PING');
    return withExpiry('PONG', dialogue.session(), check);
  });
};

async function want(
  dialogue: Dialogue,
  wanted: string,
  words: readonly string[],
  shown: string,
): Promise<void> {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  await dialogue.send(`*${words.length}\r\n${parts.join('')}`, shown);
  const line = await dialogue.readLine();
  if (line !== wanted)
    throw new CheckFailure('expect', `got "${shownText(line)}" for ${shown}, want ${wanted}`);
}
