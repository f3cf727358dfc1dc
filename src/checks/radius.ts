import { randomBytes, randomInt } from 'node:crypto';
import { type CheckContext, CheckFailure, type CheckOf, type Passed } from './check.ts';
import { ask, unexpected } from './datagram.ts';
import { decodeAnswer, encodeRequest, RadiusError, type RadiusRequest } from './radius-message.ts';
import { shownText } from './shown-text.ts';

/**
 * Asks for access with a name and a password (PAP), which must be accepted; without a user asks for the state of the
 * server. The answer must be signed with the shared secret.
 */
export async function runRadius(check: CheckOf<'radius'>, context: CheckContext): Promise<Passed> {
  const { user, password = '', secret, source } = check;
  const request: RadiusRequest = {
    id: randomInt(256),
    authenticator: randomBytes(16),
    secret,
    ...(user !== undefined && { account: { user, password } }),
  };
  const packet = encode(request);
  return ask(context, {
    source,
    request: () => packet,
    shown: user === undefined ? 'Status-Server' : `Access-Request for "${shownText(user)}"`,
    judge(datagram) {
      const answer = decode(datagram, request);
      if (!answer) return undefined;
      const text = `${answer.code}${answer.message === undefined ? '' : `: ${shownText(answer.message)}`}`;
      context.tell({ direction: 'note', text });
      if (user !== undefined && answer.code !== 'Access-Accept') {
        throw unexpected(`got ${text}, want Access-Accept`);
      }
      return { detail: text };
    },
  });
}

function encode(request: RadiusRequest): Buffer {
  try {
    return encodeRequest(request);
  } catch (error) {
    if (error instanceof RangeError) throw new CheckFailure('run', error.message);
    throw error;
  }
}

function decode(datagram: Buffer, request: RadiusRequest) {
  try {
    return decodeAnswer(datagram, request);
  } catch (error) {
    if (error instanceof RadiusError) throw unexpected(error.message);
    throw error;
  }
}
