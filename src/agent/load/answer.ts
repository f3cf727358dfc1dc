import { type AgentAnswer, agentAnswerText, type LoadReport } from '../../model/agent-answer.ts';
import type { Measured } from './figures.ts';

/** What an answer is made from. */
export type Sources = Measured & {
  /** The greatest of the shares, smoothed. */
  readonly load: number;
  /** What a script has said; absent: there is none, or it failed. */
  readonly script?: AgentAnswer;
  /** What an operator has written; absent: nobody can. */
  readonly words?: AgentAnswer;
};

/** Load alone never makes it 0, which takes a server out. */
const leastPercent = 1;

/**
 * Two lines: HAProxy's words with the figures as their description, and a report in JSON, which HAProxy does not read. The
 * percentage is what is left of the host. Who may write words decides about drain and maintenance: then nothing written
 * means `ready`.
 */
export function answerFor({ shares, figures, load, script, words }: Sources): string {
  const admission = words?.admission ?? script?.admission ?? (words ? 'ready' : undefined);
  const description = words?.description ?? script?.description ?? sharesText(shares);
  const maxConnections = words?.maxConnections ?? script?.maxConnections;
  const left = Math.min(Math.max(Math.round(100 * (1 - load)), leastPercent), 100);
  const line = agentAnswerText({
    percent: words?.percent ?? (script?.percent === 0 ? 0 : left),
    serves: words?.serves ?? script?.serves ?? 'up',
    description,
    ...(admission && { admission }),
    ...(maxConnections !== undefined && { maxConnections }),
  });
  const report: LoadReport = {
    load: rounded(load),
    shares: allRounded(shares),
    figures: allRounded(figures),
  };
  return `${line}\n${JSON.stringify(report)}\n`;
}

/** `cpu 83%, memory 2%` */
const sharesText = (shares: Measured['shares']): string =>
  Object.entries(shares)
    .map(([name, value]) => shareText(name, value))
    .join(', ') || 'nothing measured';

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

const allRounded = (values: Readonly<Record<string, number>>): Record<string, number> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [name, rounded(value)]));

/** Above 1 it is full, and somebody waits. */
function shareText(name: string, value: number): string {
  const percent = (part: number) => `${Math.round(part * 100)}%`;
  return value > 1 ? `${name} 100% and waiting ${percent(value - 1)}` : `${name} ${percent(value)}`;
}
