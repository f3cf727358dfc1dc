import { HeadgateError } from '../model/errors.ts';
import { type Outcome, run } from './run.ts';

/** How this program is started: node, launcher. What follows is a command line of ours. */
export type Headgate = readonly string[];

const commandTimeoutMs = 30_000;
/** A lab's table need not hold a million connections. */
const labConnections = '65536';

/** What a process on a node gets. */
export const directorEnvironment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  HEADGATE_CONNECTIONS: process.env.HEADGATE_CONNECTIONS ?? labConnections,
});

/** Runs a command of ours in a namespace to its end, without blocking the event loop. */
export function runHeadgate(
  headgate: Headgate,
  netns: string,
  words: readonly string[],
  input = '',
): Promise<Outcome> {
  const [program, ...first] = headgate as [string, ...string[]];
  const options = { timeoutMs: commandTimeoutMs, input, env: directorEnvironment() };
  return run(netns, program, [...first, ...words], options);
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
