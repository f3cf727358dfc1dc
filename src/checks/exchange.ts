import { CheckFailure, type CheckOf } from './check.ts';
import { contentProblem, wantsContent } from './content.ts';
import type { Dialogue } from './dialogue.ts';

/** How much of an answer is looked at, bytes. */
const longestAnswer = 65_536;

/** Sends and reads as the check says; gives what came in a few words, undefined where nothing was wanted. */
export async function exchange(
  dialogue: Dialogue,
  check: CheckOf<'tcp' | 'tls'>,
): Promise<string | undefined> {
  if (check.send !== undefined) await dialogue.send(check.send);
  if (check.endSending) dialogue.endSending();
  if (!wantsContent(check)) return undefined;
  let problem: string | undefined;
  const isEnough = (bytes: Buffer): boolean => {
    problem = bytes.length === 0 ? undefined : contentProblem(check, bytes, 'answer');
    return bytes.length > 0 && problem === undefined;
  };
  try {
    const answer = await dialogue.readUntilEnough(isEnough, longestAnswer);
    problem ??= contentProblem(check, answer, 'answer', answer.length < longestAnswer);
  } catch (error) {
    // Something came, but not what was wanted: that says more than that the time is over.
    if (!(error instanceof CheckFailure) || problem === undefined || error.message === problem) throw error;
    throw new CheckFailure('expect', `${error.message}; ${problem}`);
  }
  if (problem !== undefined) throw new CheckFailure('expect', problem);
  return 'answered as wanted';
}
