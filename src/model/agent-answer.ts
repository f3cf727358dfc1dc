/*
 * HAProxy's agent-check protocol (configuration manual, "agent-check"): a TCP connection, one line of words separated by
 * blanks, tabs or commas, a description after a sharp.
 */

const servingWords = ['up', 'down', 'stopped', 'fail'] as const;
const admissionWords = ['ready', 'drain', 'maint'] as const;

/** What an agent says in one line. What it does not say is absent, and stays as it was. */
export type AgentAnswer = {
  /** Of the configured weight. */
  readonly percent?: number;
  readonly serves?: (typeof servingWords)[number];
  readonly admission?: (typeof admissionWords)[number];
  /** The most connections it wants of this director. */
  readonly maxConnections?: number;
  /** What stands after the sharp. */
  readonly description?: string;
  /** Words that the protocol does not have. */
  readonly unknown: readonly string[];
};

/** HAProxy takes no more (server_parse_weight_change_request). */
const mostPercent = 25_600;
const longestDescription = 200;
const mostConnections = 2 ** 31 - 1;

/** Reads a line without its end. Of two words of one kind the later counts, as in HAProxy. */
export function readAgentAnswer(line: string): AgentAnswer {
  const words: { -readonly [Key in keyof AgentAnswer]: AgentAnswer[Key] } & { unknown: string[] } = {
    unknown: [],
  };
  const sharp = /(?:^|[ \t,])#/.exec(line);
  const said = sharp ? line.slice(0, sharp.index) : line;
  for (const word of said.split(/[ \t,]+/).filter((one) => one !== '')) {
    const lower = word.toLowerCase();
    const serves = servingWords.find((one) => one === lower);
    const admission = admissionWords.find((one) => one === lower);
    const percent = /^(\d{1,9})%$/.exec(word)?.[1];
    const most = /^maxconn:(\d{1,10})$/.exec(lower)?.[1];
    if (serves) words.serves = serves;
    else if (admission) words.admission = admission;
    else if (percent !== undefined) words.percent = Math.min(Number(percent), mostPercent);
    else if (most !== undefined) words.maxConnections = Math.min(Number(most), mostConnections);
    else words.unknown.push(word);
  }
  const description = sharp ? shown(line.slice(line.indexOf('#', sharp.index) + 1)) : '';
  return { ...words, ...(description !== '' && { description }) };
}

/** It comes from elsewhere and is shown on terminals. */
const shown = (text: string): string =>
  text
    .replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')
    .trim()
    .slice(0, longestDescription);

/** The line for an answer, without its end. A description keeps no control characters. */
export function agentAnswerText({
  percent,
  serves,
  admission,
  maxConnections,
  description,
}: Omit<AgentAnswer, 'unknown'>): string {
  const words = [
    admission,
    serves,
    percent === undefined ? undefined : `${percent}%`,
    maxConnections === undefined ? undefined : `maxconn:${maxConnections}`,
    description === undefined ? undefined : `#${description.replaceAll(/[\p{Cc}]+/gu, ' ')}`,
  ];
  return words.filter((word) => word !== undefined).join(' ');
}

/** What a Headgate agent has measured: its second line, in JSON. Shares are from 0 to 1. */
export type LoadReport = {
  /** 0: idle, 1: full; up to 2 where work waits. */
  readonly load: number;
  /** What `load` is the greatest of, by name. */
  readonly shares: Readonly<Record<string, number>>;
  /** Further figures, by name: they count for nothing. */
  readonly figures: Readonly<Record<string, number>>;
};

const mostNames = 32;
const heaviestLoad = 2;

/** Reads a report; undefined where it is none. */
export function readLoadReport(line: string): LoadReport | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  const { load, shares, figures } = (value ?? {}) as Partial<Record<string, unknown>>;
  if (typeof load !== 'number' || !(load >= 0)) return undefined;
  return { load: Math.min(load, heaviestLoad), shares: numbersIn(shares), figures: numbersIn(figures) };
}

function numbersIn(value: unknown): Readonly<Record<string, number>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return {};
  const entries = Object.entries(value).filter(
    (entry): entry is [string, number] =>
      typeof entry[1] === 'number' && Number.isFinite(entry[1]) && /^[a-zA-Z]\w{0,30}$/.test(entry[0]),
  );
  return Object.fromEntries(entries.slice(0, mostNames));
}
