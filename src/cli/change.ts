import { resolve } from 'node:path';
import { type AbsentAddress, absentAddresses } from '../control/absent-addresses.ts';
import { bareStep, type Change, type Step } from '../control/change.ts';
import { describedChecks } from '../control/configuration-report.ts';
import type { Controller } from '../control/controller.ts';
import type { FileText } from '../control/file-texts.ts';
import { loadWanted } from '../control/load-wanted.ts';
import { type Intention, intend, putInForce } from '../control/reconcile.ts';
import type { Wanted } from '../control/wanted.ts';
import { count } from '../model/count.ts';
import { HeadgateError } from '../model/errors.ts';
import { serviceKey } from '../model/service-id.ts';
import type { Operation } from '../model/table.ts';
import { ask, canAsk } from './ask.ts';
import { connect, openDaemon } from './connect.ts';
import type { Streams } from './context.ts';
import { originOf } from './origin.ts';
import { type Output, write } from './output.ts';
import { overrideLine } from './override-text.ts';
import { exitCodes } from './report-error.ts';

type Options = { readonly output: Output; readonly dropRuntimeChanges?: boolean };

/** `plan [FILE]`. */
export async function planFile(file: string, options: Options, streams: Streams): Promise<number> {
  const { change, absent, plane } = await withController(file, async (controller, wanted) => {
    const change = await intend(controller, wanted, options);
    const absent = await absentAddresses(controller, change.steps);
    return { change, absent, plane: await planeText(controller, wanted) };
  });
  await write(
    streams,
    options.output,
    changeValue(change, absent),
    () => changeText(change) + concernsText(change),
  );
  if (options.output === 'text') streams.stderr.write(plane + absentText(absent));
  return exitCodes.done;
}

/** `diff [FILE]`: exit code 1 when something differs. */
export async function diffFile(file: string, options: Options, streams: Streams): Promise<number> {
  const change = await withController(file, (controller, wanted) => intend(controller, wanted, options));
  await write(streams, options.output, changeValue(change), () => diffText(change));
  // Not an entry that differs, but why one is not as the file has it.
  if (options.output === 'text')
    streams.stderr.write(change.overrides.map((one) => `${overrideLine(one)}\n`).join(''));
  return change.steps.length > 0 ? exitCodes.failed : exitCodes.done;
}

/** `apply [FILE]`. */
export async function applyFile(
  file: string,
  options: Options & { readonly yes?: boolean },
  streams: Streams,
): Promise<number> {
  const text = options.output === 'text';
  const daemon = await openDaemon();
  if (daemon && daemon.status.configuration.file !== resolve(file))
    throw new HeadgateError(
      'HG_DAEMON',
      `Cannot apply "${file}": a daemon (process ${daemon.status.pid}) keeps the data plane as "${daemon.status.configuration.file}" says`,
    );
  const { change, absent, unchecked } = await withController(file, async (controller, wanted, texts) => {
    if (wanted.table.services.length > 0) await controller.getReady?.();
    const origin = originOf(controller, resolve(file), streams);
    const found = await intend(controller, wanted, options);
    const absent = await absentAddresses(controller, found.steps);
    if (text) {
      streams.stdout.write(changeText(found));
      streams.stderr.write(await planeText(controller, wanted));
    }
    if (found.concerns.length > 0 && !options.yes)
      await consent(found, { action: `apply "${file}"`, again: `headgate apply ${file} --yes` }, streams);
    if (daemon) await daemon.reload({ yes: true, dropRuntimeChanges: options.dropRuntimeChanges === true });
    else await putInForce(controller, wanted, found, { ...origin, by: 'apply', texts });
    return { change: found, absent, unchecked: describedChecks(wanted) };
  });
  await write(streams, options.output, changeValue(change, absent), () =>
    change.steps.length + change.settings.length > 0 ? 'Applied.\n' : '',
  );
  if (text) streams.stderr.write(absentText(absent) + (daemon ? '' : uncheckedText(file, unchecked)));
  return exitCodes.done;
}

/** Checks are the daemon's: a warning that nobody runs those that are described. */
function uncheckedText(file: string, unchecked: number): string {
  if (unchecked === 0) return '';
  const whom = count(unchecked, 'real server');
  return `headgate: warning: the checks of ${whom} are run by a daemon only, and none runs\n  next: headgate run ${file}\n`;
}

/** Opens the data plane for what a configuration asks of it. */
async function withController<T>(
  file: string,
  work: (controller: Controller, wanted: Wanted, texts: readonly FileText[]) => Promise<T>,
): Promise<T> {
  const { wanted, dataPlane, connections, texts } = loadWanted(file);
  const controller = await connect({
    ...(dataPlane !== 'proxy' && { dataPlane }),
    ...(connections !== undefined && { connections }),
  });
  try {
    if ((dataPlane === 'proxy' || dataPlane === 'ipvs') && controller.capabilities.name !== dataPlane)
      throw new HeadgateError(
        'HG_USAGE',
        `Cannot use "${file}" here: it wants the data plane "${dataPlane}", found ${controller.capabilities.name}`,
        { hint: `headgate run ${file}, or dataPlane: auto` },
      );
    return await work(controller, wanted, texts);
  } finally {
    await controller.close();
  }
}

/** Asks on a terminal; elsewhere the word has to be in the command line. Rejects with HG_NEEDS_YES. */
export async function consent(
  { concerns }: Change,
  { action, again }: { readonly action: string; readonly again: string },
  { stderr }: Streams,
): Promise<void> {
  const why = concerns.join('; ');
  const refused = (sentence: string) => new HeadgateError('HG_NEEDS_YES', sentence, { hint: again });
  if (!canAsk()) throw refused(`Cannot ${action} without --yes: ${why}`);
  stderr.write(`This takes much away: ${why}.\n`);
  const answer = await ask('Do it? Type yes: ');
  if (answer !== 'yes') throw refused(`Did not ${action}: the answer was "${answer}"`);
}

/** A change for a program. */
export function changeValue(
  { strangers, covers: _covers, health: _health, observed: _observed, ...change }: Intention,
  absent?: readonly AbsentAddress[],
) {
  return { ...change, strangers: strangers.map(serviceKey), ...(absent && { absentAddresses: absent }) };
}

/** Which plane it is where it is not the usual one, and what of a configuration it does not act on. */
async function planeText(controller: Controller, { table, names }: Wanted): Promise<string> {
  const { name, description, ignores } = controller.capabilities;
  const told = name === 'ipvs' ? `headgate: the data plane is ipvs: ${description}\n` : '';
  if (!ignores) return told;
  const { notActedOnIn } = await import('../control/ignored.ts');
  const ignored = await notActedOnIn(controller, table, names);
  const lines = ignored.map(({ what, remedy, services: [first, ...more] }) => {
    const whom = more.length > 0 ? `${first} and ${more.length} more` : first;
    return `headgate: warning: ${whom}: ${what}\n  next: ${remedy}\n`;
  });
  return told + lines.join('');
}

/** Addresses that are told one by one. */
const mostTold = 3;

/** A warning for each virtual address that this host does not have. */
function absentText(absent: readonly AbsentAddress[]): string {
  const told = absent
    .slice(0, mostTold)
    .map(
      ({ address, fix }) =>
        `headgate: warning: the virtual address ${address} is on no interface of this host, so nothing new is taken for it\n  next: ${fix} (on a standby director all is as it should be)\n`,
    );
  const more = absent.length - told.length;
  return `${told.join('')}${more > 0 ? `headgate: warning: so are ${more} more\n  next: headgate doctor\n` : ''}`;
}

/** A change for a person: a line for each step, what it means for connections, and what it leaves alone. */
export function changeText({ steps, settings, strangers, kept, dropped, overrides }: Intention): string {
  const all = [...steps, ...settings.map((step) => ({ ...step, connections: 0 }))];
  const lines = all.length === 0 ? ['Nothing to change: the data plane is as described.'] : stepLines(all);
  for (const [what, operations] of [
    ['Stays over it, changed at runtime (--drop-runtime-changes takes it back)', kept],
    ['Goes, changed at runtime', dropped],
  ] as const)
    if (operations.length > 0) lines.push(`${what}:`, ...operations.map(runtimeLine));
  lines.push(...overrides.map(overrideLine));
  if (strangers.length > 0)
    lines.push(`Left alone, because nobody described them: ${strangers.map(serviceKey).join(', ')}`);
  return `${lines.join('\n')}\n`;
}

/** What `apply` will ask about. */
const concernsText = ({ concerns }: Change): string =>
  concerns.length > 0 ? `Needs a word (--yes): ${concerns.join('; ')}\n` : '';

function runtimeLine(operation: Operation): string {
  const { sign, what, detail } = bareStep(operation);
  return `  ${sign} ${what}  ${detail}`.trimEnd();
}

/** A line for each step, and how many there are. */
export function stepLines(
  steps: readonly Pick<Step, 'sign' | 'what' | 'detail' | 'connections' | 'effect'>[],
): string[] {
  const width = Math.max(...steps.map(({ what }) => what.length));
  const lines = steps.map(({ sign, what, detail, connections, effect }) => {
    const undisturbed = connections > 0 ? `keeps ${count(connections, 'connection')}` : undefined;
    const fate = effect ?? undisturbed;
    return `${sign} ${what.padEnd(width)}  ${detail}${fate === undefined ? '' : `: ${fate}`}`;
  });
  const counted = (['+', '~', '-'] as const).map((sign) => steps.filter((step) => step.sign === sign).length);
  return [...lines, `${counted[0]} to add, ${counted[1]} to change, ${counted[2]} to take away.`];
}

function diffText({ steps }: Change): string {
  return steps
    .flatMap(({ what, before, after }) => [
      ...(before === undefined ? [] : [`- ${what}  ${before}`]),
      ...(after === undefined ? [] : [`+ ${what}  ${after}`]),
    ])
    .map((line) => `${line}\n`)
    .join('');
}
