import { once } from 'node:events';
import { HeadgateError } from '../model/errors.ts';
import { spawnInNetns } from '../sys/netns.ts';

/** How this program is started: node, launcher. What follows is a command line of ours. */
export type Headgate = readonly string[];

export type Outcome = { readonly status: number; readonly stdout: string; readonly stderr: string };

const commandTimeoutMs = 30_000;
/** A lab's table need not hold a million connections. */
const labConnections = '65536';

/** What a process on a node gets. */
export const directorEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  HEADGATE_CONNECTIONS: process.env.HEADGATE_CONNECTIONS ?? labConnections,
});

/** Runs a command of ours in a namespace to its end, without blocking the event loop. */
export async function runHeadgate(
  headgate: Headgate,
  netns: string,
  words: readonly string[],
  input = '',
): Promise<Outcome> {
  const [program, ...first] = headgate as [string, ...string[]];
  const child = spawnInNetns(netns, program, [...first, ...words], {
    stdio: 'pipe',
    timeout: commandTimeoutMs,
    killSignal: 'SIGKILL',
    env: directorEnvironment(),
  });
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (text) => {
    stdout += text;
  });
  child.stderr!.on('data', (text) => {
    stderr += text;
  });
  child.stdin!.on('error', () => undefined);
  child.stdin!.end(input);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (signal !== null) stderr += `ended with ${signal}; the limit is ${commandTimeoutMs / 1000} s\n`;
  return { status: code ?? 1, stdout, stderr };
}

/** The same for a command that has to work: throws HG_LAB_FAILED with what it said. */
export async function mustRunHeadgate(
  headgate: Headgate,
  netns: string,
  words: readonly string[],
  input = '',
): Promise<string> {
  const { status, stdout, stderr } = await runHeadgate(headgate, netns, words, input);
  if (status === 0) return stdout;
  throw new HeadgateError(
    'HG_LAB_FAILED',
    `Cannot run "headgate ${words.join(' ')}" in ${netns}: status ${status}, ${stderr.trim() || 'without a word'}`,
  );
}
