import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { type AgentAnswer, readAgentAnswer } from '../../model/agent-answer.ts';
import { answerFor } from './answer.ts';
import {
  countConnections,
  type Measured,
  measure,
  type Reading,
  readLoadAverage,
  readMemory,
  readPressure,
  readStat,
} from './figures.ts';

export type SamplerOptions = {
  /** From one reading to the next, milliseconds. */
  readonly periodMs: number;
  /** A program whose first line is an answer of its own. */
  readonly script?: string | undefined;
  /** A file in which operators write words. */
  readonly words?: string | undefined;
  /** Ports whose connections are counted, and with how many this host is full. */
  readonly ports: readonly number[];
  readonly mostConnections?: number | undefined;
  /** Names of the shares that count; absent: all. */
  readonly count?: readonly ShareName[] | undefined;
  /** Told once of what does not work, and once when it does again. */
  readonly tell: (what: string) => void;
};

/** What a load may be made of. */
const shareNames = ['cpu', 'memory', 'connections', 'script'] as const;
export type ShareName = (typeof shareNames)[number];

export type Sampler = {
  /** What is to be answered now. */
  answer(): string;
  stop(): void;
};

/** Of a new load in the smoothed one: what is a second old counts for half. */
const smoothing = 0.3;
const scriptLimitMs = 5000;
/** Far more than a line of words has. */
const mostOutput = 4096;

/** Reads /proc again and again. Resolves when there is something to answer. */
export async function startSampler(options: SamplerOptions): Promise<Sampler> {
  const { periodMs, script, words, ports, mostConnections, count, tell } = options;
  const wanted = new Set(ports);
  const ending = new AbortController();
  const limits = mostConnections === undefined ? {} : { connections: mostConnections };
  let reading = await read(wanted);
  let load: number | undefined;
  let said: AgentAnswer | undefined;
  let trouble = '';
  let text = '';

  async function sample(): Promise<void> {
    const now = await read(wanted);
    const measured = measure(reading, now, limits);
    reading = now;
    const [heard, written] = [
      script && (await scriptAnswer(script, ending.signal)),
      words && (await wordsIn(words)),
    ];
    said = typeof heard === 'object' ? heard : undefined;
    const found = typeof heard === 'string' ? heard : '';
    if (found !== trouble)
      tell(found === '' ? `script "${script}" works again` : `script "${script}": ${found}`);
    trouble = found;
    const all = counted(withScript(measured, said), count);
    const greatest = Math.max(0, ...Object.values(all.shares));
    load = load === undefined ? greatest : load + smoothing * (greatest - load);
    text = answerFor({ ...all, load, ...(said && { script: said }), ...(written && { words: written }) });
  }

  // The first shares are of a short time: soon there is something to say.
  await new Promise((resolve) => setTimeout(resolve, Math.min(periodMs, 200)));
  await sample();
  let timer: NodeJS.Timeout | undefined;
  const later = () => {
    timer = setTimeout(() => {
      sample()
        .catch((error: unknown) => tell(String(error)))
        .finally(() => ending.signal.aborted || later());
    }, periodMs);
  };
  later();
  return {
    answer: () => text,
    stop() {
      ending.abort();
      clearTimeout(timer);
    },
  };
}

/** A script's percentage is what is left by its account. */
function withScript({ shares, figures }: Measured, said: AgentAnswer | undefined): Measured {
  if (said?.percent === undefined) return { shares, figures };
  return { shares: { ...shares, script: Math.max(0, 1 - said.percent / 100) }, figures };
}

function counted({ shares, figures }: Measured, count: readonly string[] | undefined): Measured {
  if (!count) return { shares, figures };
  return {
    shares: Object.fromEntries(Object.entries(shares).filter(([name]) => count.includes(name))),
    figures,
  };
}

async function read(ports: ReadonlySet<number>): Promise<Reading> {
  const [stat, loadavg, meminfo, cpu, memory, io, tcp, tcp6] = await Promise.all([
    ...['stat', 'loadavg', 'meminfo', 'pressure/cpu', 'pressure/memory', 'pressure/io'].map(textOf),
    ...['net/tcp', 'net/tcp6'].map((path) => (ports.size === 0 ? '' : textOf(path))),
  ]);
  const load1 = readLoadAverage(loadavg!);
  const room = readMemory(meminfo!);
  const waited = { cpu: readPressure(cpu!), memory: readPressure(memory!), io: readPressure(io!) };
  return {
    ...{ atMs: performance.now(), ...readStat(stat!) },
    ...(load1 !== undefined && { load1 }),
    ...(room && { memory: room }),
    waited: Object.fromEntries(Object.entries(waited).filter(([, value]) => value !== undefined)),
    ...(ports.size > 0 && { connections: countConnections(tcp!, ports) + countConnections(tcp6!, ports) }),
  };
}

/** A file of /proc; empty where this kernel does not have it. */
const textOf = (path: string): Promise<string> => readFile(`/proc/${path}`, 'utf8').catch(() => '');

/** What a script says in its first line, or as a text why it says nothing. */
function scriptAnswer(script: string, signal: AbortSignal): Promise<AgentAnswer | string> {
  return new Promise((resolve) => {
    const options = { timeout: scriptLimitMs, maxBuffer: mostOutput, signal, killSignal: 'SIGKILL' } as const;
    execFile(script, [], options, (error, stdout) => {
      if (error) {
        const { code, killed } = error as { code?: unknown; killed?: boolean };
        resolve(
          killed
            ? `no answer within ${scriptLimitMs / 1000}s`
            : `ended with ${String(code ?? error.message)}`,
        );
        return;
      }
      const { unknown, ...known } = readAgentAnswer(firstLine(stdout));
      resolve(
        Object.keys(known).length === 0
          ? `wanted words such as "75%" or "drain", found "${firstLine(stdout).slice(0, 100)}"`
          : { ...known, unknown },
      );
    });
  });
}

/** What operators have written; nothing where the file is not there. */
async function wordsIn(path: string): Promise<AgentAnswer> {
  return readAgentAnswer(firstLine(await readFile(path, 'utf8').catch(() => '')));
}

const firstLine = (text: string): string => text.slice(0, mostOutput).split(/[\r\n]/, 1)[0]!;
