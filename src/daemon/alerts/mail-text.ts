import { type Message, messageText, messageTitle } from '../../model/alert.ts';
import type { MailAlert } from '../../model/reaction.ts';

/** Signs of an encoded word, "=?UTF-8?B?" and "?=" left out: RFC 2047, section 2, has at most 75 with them. */
const encodedWordBytes = 45;
const longestPlainLine = 900;
const longestTitle = 500;

/**
 * A mail as it is sent, lines ended by CR LF and without the dot behind them (RFC 5322). Nothing an event says can add a
 * header: every header is a line of its own making.
 */
export function mailText(
  message: Message,
  { from, to }: Pick<MailAlert, 'from' | 'to'>,
  { host, now, id }: { readonly host: string; readonly now: Date; readonly id: string },
): string {
  const title = messageTitle(message).slice(0, longestTitle);
  const body = `${messageText(message)}\nTold by Headgate on ${host}.\n`;
  const isPlain =
    /^[\n\x20-\x7e]*$/.test(body) && body.split('\n').every(({ length }) => length <= longestPlainLine);
  return [
    `Date: ${now.toUTCString().replace('GMT', '+0000')}`,
    `From: Headgate <${from}>`,
    `To: ${to.join(',\r\n ')}`,
    `Subject: ${encoded(`[headgate ${host}] ${title}`)}`,
    `Message-ID: <${id}@${host.includes('.') ? host : `${host}.invalid`}>`,
    // RFC 3834, section 5: nobody answers it with a holiday notice.
    'Auto-Submitted: auto-generated',
    'MIME-Version: 1.0',
    'Content-Type: text/plain; charset=utf-8',
    `Content-Transfer-Encoding: ${isPlain ? '7bit' : 'base64'}`,
    '',
    isPlain
      ? body.replaceAll('\n', '\r\n')
      : wrapped(Buffer.from(body.replaceAll('\n', '\r\n')).toString('base64')),
  ].join('\r\n');
}

/** A header's text; what is not ASCII, or long, in encoded words (RFC 2047). */
function encoded(text: string): string {
  const line = text.replaceAll(/\p{Cc}+/gu, ' ');
  if (/^[\x20-\x7e]{1,200}$/.test(line)) return line;
  const words: string[] = [];
  let chunk = '';
  for (const sign of line) {
    if (Buffer.byteLength(chunk + sign) > encodedWordBytes) {
      words.push(chunk);
      chunk = '';
    }
    chunk += sign;
  }
  words.push(chunk);
  return words.map((word) => `=?UTF-8?B?${Buffer.from(word).toString('base64')}?=`).join('\r\n ');
}

const wrapped = (base64: string): string =>
  (base64.match(/.{1,76}/g) ?? []).map((line) => `${line}\r\n`).join('');
