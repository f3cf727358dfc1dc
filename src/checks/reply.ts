import { CheckFailure } from './check.ts';
import type { Dialogue } from './dialogue.ts';
import { shownText } from './shown-text.ts';

/** A reply of SMTP, FTP or NNTP. */
export type Reply = {
  readonly code: number;
  /** Its lines without code. */
  readonly lines: readonly string[];
};

/** A reply of more lines is none. */
const mostLines = 200;

/**
 * Reads a reply: `220 text`, or `220-text` and more lines up to `220 text` (RFC 5321, 4.2.1; RFC 959, 4.2, where lines
 * between need no code).
 */
export async function readReply(dialogue: Dialogue, protocol: string): Promise<Reply> {
  const first = await dialogue.readLine();
  const match = /^([1-5][0-9]{2})([ -]|$)(.*)$/.exec(first);
  if (!match) throw new CheckFailure('expect', `answer is not ${protocol}: got "${shownText(first)}"`);
  const [, code, separator, text] = match;
  const lines = [text!];
  if (separator !== '-') return { code: Number(code), lines };
  while (lines.length < mostLines) {
    const line = await dialogue.readLine();
    const isLast = line.startsWith(`${code} `) || line === code;
    lines.push(line.startsWith(`${code}-`) || isLast ? line.slice(4) : line.trim());
    if (isLast) return { code: Number(code), lines };
  }
  throw new CheckFailure('expect', `a reply of more than ${mostLines} lines`);
}

/** Sends a command, if any, and reads a reply, which must have one of the codes; `shown` is told in place of secrets. */
export async function wantReply(
  dialogue: Dialogue,
  protocol: string,
  command: string | undefined,
  codes: readonly number[],
  shown?: string,
): Promise<Reply> {
  if (command !== undefined) await dialogue.send(`${command}\r\n`, shown);
  const reply = await readReply(dialogue, protocol);
  if (!codes.includes(reply.code)) {
    const after = command === undefined ? '' : ` for ${shown ?? shownText(command)}`;
    throw new CheckFailure('expect', `got "${replyText(reply)}"${after}, want ${codes.join(' or ')}`);
  }
  return reply;
}

/** `220 mail.example.org ESMTP`. */
export function replyText({ code, lines }: Reply): string {
  return shownText(`${code} ${lines[0]}`.trim());
}

/** A text as part of a command; a line end in it would begin another command. */
export function inCommand(text: string, key: string): string {
  if (/[\r\n\0]/.test(text)) throw new CheckFailure('send', `${key} has a line end in it`);
  return text;
}
