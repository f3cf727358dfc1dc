import { formatDurationMs } from '../config/quantities.ts';
import type { Address } from '../model/address.ts';
import { type AgentAnswer, type LoadReport, readAgentAnswer, readLoadReport } from '../model/agent-answer.ts';
import { CheckFailure, type CheckTarget, type DialogueLine } from './check.ts';
import { converse } from './dialogue.ts';
import { CheckEnd } from './failure-words.ts';
import { shownText } from './shown-text.ts';

/** How an agent is asked; the time in milliseconds. */
export type AgentQuestion = {
  readonly timeout: number;
  readonly send?: string | undefined;
  readonly source?: Address | undefined;
  /** `load`: its second line is waited for, which is a report where a Headgate agent answers. */
  readonly weights: 'said' | 'load';
};

/** What came of asking an agent. */
export type Heard =
  | { readonly answer: AgentAnswer; readonly report?: LoadReport }
  /** `connect: connection refused` */
  | { readonly failure: string };

/** Far more than any answer has. */
const mostBytes = 4096;

/**
 * Asks an agent by HAProxy's agent-check protocol, once: what comes up to the first CR or LF, or up to the end, is its
 * answer. Never rejects.
 */
export async function askAgent(
  { timeout, send, source, weights }: AgentQuestion,
  target: CheckTarget,
  { signal, tell = silence }: { readonly signal: AbortSignal; readonly tell?: (line: DialogueLine) => void },
): Promise<Heard> {
  const ending = new AbortController();
  const stop = (): void => ending.abort(new CheckEnd('stopped'));
  const timer = setTimeout(
    () => ending.abort(new CheckEnd(`no answer within ${formatDurationMs(timeout)}`)),
    timeout,
  );
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  try {
    const text = await converse({ target, signal: ending.signal, tell }, { source }, async (dialogue) => {
      if (send !== undefined) await dialogue.send(send);
      const isEnough = (bytes: Buffer) => linesIn(bytes.toString('latin1')).isWhole(weights);
      return (await dialogue.readUntilEnough(isEnough, mostBytes)).toString('utf8');
    });
    return heardIn(text);
  } catch (error) {
    if (error instanceof CheckFailure) return { failure: `${error.phase}: ${error.message}` };
    return { failure: `this is a fault of ours: ${String(error)}` };
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', stop);
  }
}

function heardIn(text: string): Heard {
  const { first, second } = linesIn(text);
  const answer = readAgentAnswer(first);
  const { unknown, ...said } = answer;
  if (Object.keys(said).length === 0) {
    const found = first === '' ? 'nothing' : `"${shownText(first.slice(0, 100))}"`;
    return { failure: `expect: got ${found}, want words of HAProxy's agent-check` };
  }
  const report = second === undefined ? undefined : readLoadReport(second);
  return { answer, ...(report && { report }) };
}

function linesIn(text: string) {
  const [, first = '', end = '', second, secondEnd = ''] =
    /^([^\r\n]*)(\r\n|[\r\n])?(?:([^\r\n]+)([\r\n])?)?/.exec(text)!;
  return {
    first,
    second,
    isWhole: (weights: 'said' | 'load') => (weights === 'load' ? secondEnd !== '' : end !== ''),
  };
}

function silence(): void {}
