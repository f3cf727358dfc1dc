import { randomBytes } from 'node:crypto';
import type { CheckContext, CheckOf, Passed } from './check.ts';
import { ask, unexpected } from './datagram.ts';
import { converse } from './dialogue.ts';
import { shownText } from './shown-text.ts';
import {
  decodeAnswer,
  encodeOptions,
  hostText,
  isFinalAnswer,
  SipError,
  type SipRequest,
} from './sip-message.ts';

const longestAnswer = 65_535;
const usualPort = 5060;

/** Sends OPTIONS by UDP or TCP; any answer of 200 to 299 is good. */
export async function runSip(check: CheckOf<'sip'>, context: CheckContext): Promise<Passed> {
  const { address, port } = context.target;
  const { user, transport, source } = check;
  const request: SipRequest = {
    transport,
    host: `${hostText(address)}${port === usualPort ? '' : `:${port}`}`,
    ...(user !== undefined && { user }),
    branch: unique(),
    callId: unique(),
    tag: unique(),
  };
  const judge = (bytes: Buffer): Passed | undefined => judgeAnswer(bytes, request);
  if (transport === 'udp') {
    return ask(context, { source, request: (local) => encodeOptions(request, local), judge });
  }
  return converse(context, { source }, async (dialogue) => {
    await dialogue.send(encodeOptions(request, dialogue.local()));
    for (;;) {
      const passed = judge(await dialogue.readUntil('\r\n\r\n', longestAnswer));
      if (passed) return passed;
    }
  });
}

function unique(): string {
  return randomBytes(12).toString('hex');
}

function judgeAnswer(bytes: Buffer, request: SipRequest): Passed | undefined {
  const answer = decode(bytes.toString('latin1'));
  if (!isFinalAnswer(answer, request)) return undefined;
  const text = shownText(`${answer.status} ${answer.reason}`.trim());
  if (answer.status > 299) throw unexpected(`got ${text}, want 200-299`);
  return { detail: text };
}

function decode(text: string) {
  try {
    return decodeAnswer(text);
  } catch (error) {
    if (error instanceof SipError) throw unexpected(`${error.message}: "${shownText(text.slice(0, 80))}"`);
    throw error;
  }
}
