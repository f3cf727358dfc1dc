import { createInterface } from 'node:readline/promises';

/** Whether there is a person to ask. */
export const canAsk = (): boolean => process.stdin.isTTY === true;

/** What a person answers on the terminal, without spaces around it; nothing when they end the input. */
export async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const ended = new Promise<string>((resolve) => terminal.once('close', () => resolve('')));
    return (await Promise.race([terminal.question(question), ended])).trim();
  } finally {
    terminal.close();
  }
}
