import { once } from 'node:events';
import { spawnInNetns } from '../sys/netns.ts';

/** How a program ended and what it said. */
export type Outcome = { readonly status: number; readonly stdout: string; readonly stderr: string };

type RunOptions = {
  /** When it is killed; its status is 1 then, and what it said on standard error ends with the reason. */
  readonly timeoutMs: number;
  readonly input?: string;
  /** In place of this process's environment. */
  readonly env?: NodeJS.ProcessEnv;
};

/** Runs a program in a namespace to its end, without blocking the event loop. */
export async function run(
  netns: string,
  program: string,
  words: readonly string[],
  { timeoutMs, input = '', env = process.env }: RunOptions,
): Promise<Outcome> {
  const child = spawnInNetns(netns, program, words, {
    stdio: 'pipe',
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
    env,
  });
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (text) => {
    stdout += text;
  });
  child.stderr!.on('data', (text) => {
    stderr += text;
  });
  // It may end before it has read all.
  child.stdin!.on('error', () => undefined);
  child.stdin!.end(input);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (signal !== null) stderr += `ended with ${signal}; the limit is ${timeoutMs / 1000} s\n`;
  return { status: code ?? 1, stdout, stderr };
}
