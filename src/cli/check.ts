import { resolve } from 'node:path';
import type { Checked } from '../daemon/check-now.ts';
import { checkResultText } from '../model/check-result.ts';
import { HeadgateError } from '../model/errors.ts';
import { openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { fileHere } from './inspect.ts';
import { type Output, write } from './output.ts';
import { exitCodes } from './report-error.ts';

export type CheckOptions = { readonly output: Output; readonly verbose?: boolean; readonly file?: string };

/** `check SERVICE/REAL`: exit code 0 when all of its checks are good, 1 when one is not. */
export async function checkServer(name: string, options: CheckOptions, streams: Streams): Promise<number> {
  const { output, verbose = false, file } = options;
  const found = await checkedBy(name, file);
  await write(streams, output, found, () => found.map((one) => checkedText(one, verbose)).join(''));
  return found.every(({ result }) => result.isGood) ? exitCodes.done : exitCodes.failed;
}

/** From where the daemon checks, where one runs: it may have another address, and other eyes. */
async function checkedBy(name: string, file: string | undefined): Promise<readonly Checked[]> {
  const daemon = await openDaemon();
  if (daemon) {
    const { file: its } = daemon.status.configuration;
    if (file !== undefined && resolve(file) !== its)
      throw new HeadgateError(
        'HG_DAEMON',
        `Cannot check as "${file}" says: a daemon (process ${daemon.status.pid}) checks as "${its}" says`,
        { hint: 'leave --file out' },
      );
    return daemon.check<readonly Checked[]>(name);
  }
  const [{ loadWanted }, { checkNow }, { lastApplied }] = await Promise.all([
    import('../control/load-wanted.ts'),
    import('../daemon/check-now.ts'),
    import('../control/embedded.ts'),
  ]);
  return checkNow(loadWanted(file ?? fileHere(lastApplied())).wanted, name);
}

const marks = { sent: '>', received: '<', note: '*' } as const;

/** `web/web1  http: 200 OK (3 ms)`, with the dialogue before it where that is wanted. */
function checkedText(
  { service, realServer, type, target, result, dialogue }: Checked,
  verbose: boolean,
): string {
  const lines = dialogue.flatMap(({ direction, text }) =>
    text.split('\n').map((line) => `  ${marks[direction]} ${line}`.trimEnd()),
  );
  const whom = `${service}/${realServer}`;
  const outcome = `${whom}  ${checkResultText(type, result)}\n`;
  return verbose
    ? `${whom}  ${type} ${target}\n${lines.map((line) => `${line}\n`).join('')}${outcome}`
    : outcome;
}
