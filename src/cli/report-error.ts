import { release } from 'node:os';
import { HeadgateError } from '../model/errors.ts';
import { problemJson, problemsText } from '../model/problem.ts';
import { dataText, type Output } from './output.ts';

/** Exit codes of every command that is not in ipvsadm's grammar; docs/reference/cli.md explains them. */
export const exitCodes = { done: 0, failed: 1, usage: 2, defect: 70 } as const;

/**
 * Writes an error the way every command does and returns the exit code that goes with it. An error that is not a
 * HeadgateError is a defect of ours: the text says so and carries what a report needs.
 */
export async function reportError(
  error: unknown,
  options: { write: (text: string) => void; format: Output; version: string },
): Promise<number> {
  if (error instanceof HeadgateError) {
    const { code, message, hint } = error;
    const problems = error.problems.length > 0 && { problems: error.problems.map(problemJson) };
    options.write(
      options.format === 'text'
        ? `${problemsText(error.problems)}headgate: ${message} [${code}]\n  next: ${hint}\n`
        : await dataText(options.format, { error: { code, message, hint, ...problems } }),
    );
    return code === 'HG_USAGE' ? exitCodes.usage : exitCodes.failed;
  }
  const message = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const stack = error instanceof Error && error.stack !== undefined ? error.stack : message;
  const host = `headgate ${options.version}, node ${process.version}, ${process.platform} ${release()} ${process.arch}`;
  options.write(
    options.format === 'text'
      ? `headgate: Cannot go on: ${message}\n` +
          '  This is a defect in Headgate, not in what you typed.\n' +
          '  next: report the command you ran and the lines below\n' +
          `  ${host}\n${stack.replaceAll(/^/gm, '  ')}\n`
      : await dataText(options.format, { error: { message, defect: true, stack, host } }),
  );
  return exitCodes.defect;
}
