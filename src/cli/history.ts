import type { Remote } from '../api/client.ts';
import { type GenerationReport, type History, readHistory, reportGeneration } from '../control/history.ts';
import { appliedBefore } from '../control/note-generation.ts';
import { putInForce } from '../control/reconcile.ts';
import { intendRollback, rollbackOrigin } from '../control/rollback.ts';
import { HeadgateError } from '../model/errors.ts';
import { changeText, changeValue, consent, stepLines } from './change.ts';
import { connect, openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { originOf } from './origin.ts';
import { type Output, write } from './output.ts';
import { readableState } from './state.ts';

type Options = { readonly output: Output };

/** `history [GENERATION]`. */
export async function history(
  word: string | undefined,
  { output, text }: Options & { readonly text?: boolean },
  streams: Streams,
): Promise<void> {
  const daemon = await openDaemon();
  if (word === undefined) {
    const found = daemon ? await daemon.history<History>() : readHistory(await readableState());
    await write(streams, output, found, () => historyText(found));
    return;
  }
  const found = await find(daemon, numberOf(word));
  await write(streams, output, found, () => (text ? filesText(found) : generationText(found)));
}

/** `rollback GENERATION`. */
export async function rollback(
  word: string,
  options: Options & { readonly yes?: boolean; readonly dropRuntimeChanges?: boolean },
  streams: Streams,
): Promise<void> {
  const generation = numberOf(word);
  const text = options.output === 'text';
  const daemon = await openDaemon();
  const controller = await connect();
  try {
    const to = daemon
      ? await daemon.generation<GenerationReport>(generation)
      : reportGeneration(controller.directory, generation);
    const { intention, again, isIdle } = await intendRollback(controller, to, options);
    await write(streams, options.output, changeValue(intention), () =>
      isIdle ? `Nothing to change: what generation ${generation} says is in force.\n` : changeText(intention),
    );
    if (isIdle) return;
    const confirmed = `headgate rollback ${generation} --yes`;
    if (intention.concerns.length > 0 && !options.yes)
      await consent(
        intention,
        { action: `roll back to generation ${generation}`, again: confirmed },
        streams,
      );
    const made = daemon
      ? (
          await daemon.rollback({
            generation,
            yes: true,
            dropRuntimeChanges: options.dropRuntimeChanges === true,
          })
        ).generation
      : await putInForce(controller, again.wanted, intention, {
          ...originOf(controller, appliedBefore(controller.directory)?.file ?? to.file, streams),
          ...rollbackOrigin(to, appliedBefore(controller.directory)?.file ?? to.file),
        });
    if (text)
      streams.stdout.write(
        `Generation ${made} is in force, a rollback to ${generation}${daemon ? '; it stays until the file changes or "headgate reload"' : ''}.\n`,
      );
  } finally {
    await controller.close();
  }
}

async function find(daemon: Remote | undefined, generation: number): Promise<GenerationReport> {
  return daemon ? daemon.generation(generation) : reportGeneration(await readableState(), generation);
}

function numberOf(word: string): number {
  if (/^[1-9]\d{0,14}$/.test(word)) return Number(word);
  throw new HeadgateError('HG_USAGE', `Cannot read the generation "${word}": wanted a number`, {
    hint: 'headgate history',
  });
}

function historyText({ inForce, generations }: History): string {
  if (generations.length === 0) return 'No generation is kept here yet.\n';
  const width = String(generations[0]!.generation).length;
  return generations
    .map(({ generation, at, by, rolledBackTo, summary }) => {
      const mark = generation === inForce ? '*' : ' ';
      const how = rolledBackTo === undefined ? by : `${by} (rolled back to ${rolledBackTo})`;
      return `${mark} ${String(generation).padStart(width)}  ${at}  ${how}: ${summary}\n`;
    })
    .join('');
}

function generationText({
  generation,
  at,
  file,
  by,
  isInForce,
  before,
  steps,
  ...rest
}: GenerationReport): string {
  const rolledBack = rest.rolledBackTo === undefined ? '' : `, rolled back to ${rest.rolledBackTo}`;
  const against = before === undefined ? 'From nothing' : `Against generation ${before}`;
  const lines = [
    `Generation ${generation}${isInForce ? ', in force' : ''}: ${at}, by ${by} of ${file}${rolledBack}`,
    ...(steps === undefined
      ? [`The generation before it is not kept. Against that: ${rest.summary}`]
      : [
          `${against}:`,
          ...(steps.length === 0
            ? ['  nothing changed']
            : stepLines(steps.map((step) => ({ ...step, connections: 0 }))).map((line) => `  ${line}`)),
        ]),
    ...rest.files.map(({ path, text }) => `File ${path}: ${text.split('\n').length - 1} lines (--text)`),
  ];
  return `${lines.join('\n')}\n`;
}

/** One file as it was; several with a line before each. */
function filesText({ files }: GenerationReport): string {
  if (files.length === 1) return files[0]!.text;
  return files.map(({ path, text }) => `# ${path}\n${text}${text.endsWith('\n') ? '' : '\n'}`).join('');
}
