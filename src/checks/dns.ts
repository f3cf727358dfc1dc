import { randomInt } from 'node:crypto';
import type { CheckContext, CheckOf, Passed } from './check.ts';
import { ask, unexpected } from './datagram.ts';
import { converse } from './dialogue.ts';
import {
  type DnsAnswer,
  DnsFormatError,
  decodeAnswer,
  encodeQuery,
  nameToAsk,
  recordTypes,
} from './dns-message.ts';
import { matches as doesMatch } from './pattern.ts';
import { shownText } from './shown-text.ts';

/** Asks a name server, by UDP or TCP, and judges its response code and the records of its answer. */
export async function runDns(check: CheckOf<'dns'>, context: CheckContext): Promise<Passed> {
  const id = randomInt(0x10000);
  const question = { name: check.query, record: check.record };
  const query = encodeQuery(id, question);
  const shown = `query ${id}: ${check.query} ${check.record}`;
  const judgeAnswer = (bytes: Buffer): Passed | undefined => {
    const answer = decode(bytes);
    if (!isAnswerTo(answer, id, check)) return undefined;
    context.tell({ direction: 'note', text: `answer ${id}: ${answerText(answer)}` });
    return judge(check, answer);
  };
  const { source } = check;
  if (check.transport === 'udp') {
    return ask(context, { source, request: () => query, shown, judge: judgeAnswer });
  }
  return converse(context, { source }, async (dialogue) => {
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    await dialogue.send(Buffer.concat([length, query]), shown);
    const answer = await dialogue.readBytes((await dialogue.readBytes(2)).readUInt16BE());
    const passed = judgeAnswer(answer);
    // By TCP nothing but answers to our own queries can come.
    if (!passed) throw unexpected('the answer is to another question');
    return passed;
  });
}

function decode(bytes: Buffer): DnsAnswer {
  try {
    return decodeAnswer(bytes);
  } catch (error) {
    if (error instanceof DnsFormatError) throw unexpected(`the answer is no DNS message: ${error.message}`);
    throw error;
  }
}

type Wish = Pick<CheckOf<'dns'>, 'query' | 'record' | 'rcode' | 'expect' | 'matches' | 'matchOptions'>;

/** Whether this answers our query: its number, and the question where it is repeated (RFC 5452, section 9.1). */
function isAnswerTo({ id, isAnswer, question }: DnsAnswer, ourId: number, { query, record }: Wish): boolean {
  if (!isAnswer || id !== ourId) return false;
  if (!question) return true;
  return (
    question.type === recordTypes[record] &&
    comparable(question.name) === comparable(nameToAsk({ name: query, record }))
  );
}

function judge({ record, rcode, expect, matches, matchOptions }: Wish, answer: DnsAnswer): Passed {
  if (answer.code !== rcode) throw unexpected(`got ${answer.code}, want ${rcode}`);
  if (expect === undefined && matches === undefined) return { detail: answerText(answer) };
  if (answer.isCutOff) throw unexpected('the answer does not fit a datagram: ask with "transport: tcp"');
  const texts = answer.records.filter(({ type }) => type === recordTypes[record]).map(({ text }) => text);
  const isGood = (text: string): boolean =>
    (expect === undefined || comparable(text) === comparable(expect)) &&
    (matches === undefined || doesMatch(matches, matchOptions, text));
  const good = texts.find(isGood);
  if (good !== undefined) return { detail: `${answer.code}, ${shownText(good)}` };
  const wanted = [
    ...(expect === undefined ? [] : [`"${shownText(expect)}"`]),
    ...(matches === undefined ? [] : [`a match of /${shownText(matches)}/`]),
  ];
  const got = texts.length === 0 ? `no ${record} record` : listText(texts);
  throw unexpected(`got ${got}, want ${wanted.join(' and ')}`);
}

/** Names are compared without regard to case (RFC 4343) and to the dots that end them. */
function comparable(text: string): string {
  return text.toLowerCase().replace(/(?<=\S)\.(?=\s|$)/g, '');
}

function answerText({ code, records }: DnsAnswer): string {
  return records.length === 0 ? code : `${code}, ${listText(records.map(({ text }) => text))}`;
}

function listText(texts: readonly string[]): string {
  const shown = texts.slice(0, 3).map(shownText).join(', ');
  return texts.length > 3 ? `${shown} and ${texts.length - 3} more` : shown;
}
