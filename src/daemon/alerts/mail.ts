import { randomUUID } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { CheckFailure } from '../../checks/check.ts';
import { converse, type Dialogue } from '../../checks/dialogue.ts';
import { parseAddress } from '../../model/address.ts';
import type { MailAlert } from '../../model/reaction.ts';
import { mailText } from './mail-text.ts';
import { type Deliver, DeliveryFailure } from './outlet.ts';

type Reply = { readonly code: number; readonly lines: readonly string[] };

/** Lines of one answer: far more than any server has extensions. */
const mostLines = 100;

/** Sends mail through a server by SMTP (RFC 5321). A refusal with 5xx is final; everything else is worth another attempt. */
export function mailDelivery(alert: MailAlert, now: () => Date): Deliver {
  return async (message, signal) => {
    const { host, port } = alert.server;
    const address = parseAddress(await addressOf(host));
    if (address === undefined) throw new DeliveryFailure(`"${host}" has no address`);
    const target = {
      ...{ address, port },
      realServer: { address, port },
      service: { kind: 'address', address, port, protocol: 'tcp' } as const,
    };
    const tls = {
      serverName: alert.serverName ?? (isIP(host) === 0 ? host : undefined),
      verify: alert.verify,
    };
    const text = mailText(message, alert, { host: hostname(), now: now(), id: randomUUID() });
    try {
      await converse(
        { target, signal, tell: () => {} },
        alert.transport === 'tls' ? { tls } : {},
        (dialogue) => send(dialogue, alert, tls, text),
      );
    } catch (error) {
      if (!(error instanceof CheckFailure)) throw error;
      const reason = signal.aborted ? 'no answer in time' : error.message;
      throw new DeliveryFailure(`mail server ${host} port ${port}: ${reason}`);
    }
  };
}

async function addressOf(host: string): Promise<string> {
  if (isIP(host) !== 0) return host;
  try {
    return (await lookup(host)).address;
  } catch {
    throw new DeliveryFailure(`mail server "${host}": no address found for it`);
  }
}

async function send(
  dialogue: Dialogue,
  alert: MailAlert,
  tls: { readonly serverName: string | undefined; readonly verify: boolean },
  text: string,
): Promise<void> {
  const ask = async (line: string, wanted: number, shown?: string): Promise<Reply> => {
    await dialogue.send(`${line}\r\n`, shown);
    return expect(await readReply(dialogue), wanted, shown ?? line);
  };
  expect(await readReply(dialogue), 220, 'the greeting');
  const greeting = `EHLO ${hostname().replaceAll(/[^A-Za-z0-9.-]/g, '-')}`;
  await ask(greeting, 250);
  if (alert.transport === 'startTls') {
    await ask('STARTTLS', 220);
    await dialogue.startTls(tls);
    await ask(greeting, 250);
  }
  if (alert.user !== undefined) {
    if (alert.transport === 'plain') throw new DeliveryFailure('no password is sent without TLS', true);
    const token = Buffer.from(`\0${alert.user}\0${alert.password ?? ''}`).toString('base64');
    await ask(`AUTH PLAIN ${token}`, 235, 'AUTH PLAIN');
  }
  await ask(`MAIL FROM:<${alert.from}>`, 250);
  const refused: string[] = [];
  for (const to of alert.to) {
    await dialogue.send(`RCPT TO:<${to}>\r\n`);
    const reply = await readReply(dialogue);
    // 251: the server forwards it.
    if (reply.code !== 250 && reply.code !== 251) refused.push(`<${to}> ${reply.lines.at(-1)}`);
  }
  if (refused.length === alert.to.length)
    throw new DeliveryFailure(`every address is refused: ${refused.join('; ')}`, refused.every(isFinal));
  await ask('DATA', 354);
  // RFC 5321, 4.5.2: a dot at the start of a line is doubled.
  await dialogue.send(`${text.replaceAll(/^\./gm, '..').replace(/(?:\r\n)?$/, '\r\n')}.\r\n`);
  expect(await readReply(dialogue), 250, 'the mail');
  await dialogue.farewell('QUIT\r\n');
}

const isFinal = (refusal: string): boolean => / 5\d\d/.test(refusal);

function expect(reply: Reply, wanted: number, asked: string): Reply {
  if (reply.code === wanted) return reply;
  throw new DeliveryFailure(`${asked}: ${reply.lines.at(-1)}`, reply.code >= 500);
}

/** An answer: lines `250-...`, the last one `250 ...` (RFC 5321, 4.2.1). */
async function readReply(dialogue: Dialogue): Promise<Reply> {
  const lines: string[] = [];
  while (lines.length < mostLines) {
    const line = await dialogue.readLine();
    lines.push(line.slice(0, 200));
    const code = /^(\d{3})(?: |$)/.exec(line)?.[1];
    if (code !== undefined) return { code: Number(code), lines };
    if (!/^\d{3}-/.test(line)) break;
  }
  throw new DeliveryFailure(`no answer of SMTP: "${lines.at(-1)}"`);
}
