import { existsSync, readFileSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { builtInClusters } from '../lab/built-in.ts';
import { type Cluster, endpoint } from '../lab/cluster.ts';
import { nodeNetns } from '../lab/cluster-topology.ts';
import type { Headgate } from '../lab/director.ts';
import { killNode, restoreNode, switchCables } from '../lab/faults.ts';
import { bringUp, takeDown } from '../lab/lifecycle.ts';
import { explained } from '../lab/refusal.ts';
import { askService, whyUnanswered } from '../lab/service-probe.ts';
import { statusOf } from '../lab/status.ts';
import { statusPicture } from '../lab/status-picture.ts';
import { type LabRecord, labNames, readLab } from '../lab/store.ts';
import { HeadgateError } from '../model/errors.ts';
import { suggest } from '../model/suggest.ts';
import type { Streams } from './context.ts';
import { type Output, write } from './output.ts';
import { whenToldToEnd } from './told-to-end.ts';

export type LabOptions = {
  readonly lab?: string;
  readonly name?: string;
  readonly output: Output;
};

const launcher = fileURLToPath(new URL('../../bin/headgate.js', import.meta.url));
export const headgate: Headgate = [process.execPath, launcher];

/** Runs one of the commands below; what the kernel refuses it is told in the words of a HeadgateError. */
export async function inOurWords(command: () => number | Promise<number>): Promise<number> {
  try {
    return await command();
  } catch (error) {
    throw explained(error, 'Cannot work on labs');
  }
}

/** `lab up NAME|FILE`. */
export async function labUp(which: string, options: LabOptions, streams: Streams): Promise<number> {
  const cluster = await clusterFor(which);
  const lab = options.name ?? cluster.name;
  checkName(lab);
  const started = performance.now();
  // It takes seconds, in which nobody should wonder.
  const begun = (what: string) => {
    if (options.output === 'text') streams.stderr.write(`${what}\n`);
  };
  let ended = false;
  // It takes a second; one that is ended meanwhile is taken down.
  const listenNoMore = whenToldToEnd(['SIGINT', 'SIGTERM', 'SIGHUP'], () => {
    ended = true;
  });
  try {
    await bringUp(cluster, lab, headgate, begun);
  } finally {
    listenNoMore();
  }
  if (ended) {
    await takeDown(lab, headgate);
    throw new HeadgateError(
      'HG_LAB_FAILED',
      `Cannot set up the lab "${lab}": ended by a signal, taken down again`,
    );
  }
  const seconds = (performance.now() - started) / 1000;
  begun('Asking each service once');
  const services = await Promise.all(
    cluster.services.map(async (service) => {
      const address = endpoint(service.address, service.port);
      const result = await askService(cluster, lab, service);
      if (result === undefined || 'answer' in result) return { address, ...result };
      return { address, reason: await whyUnanswered(cluster, lab, service) };
    }),
  );
  const status = await statusOf(readLab(lab)!, headgate);
  const text = () => [
    `The lab "${lab}" is up after ${seconds.toFixed(1)} s.`,
    '',
    ...statusPicture(status),
    '',
    ...services.flatMap((asked) =>
      'answer' in asked
        ? [`${asked.address} was asked once: ${asked.answer} answered.`]
        : 'reason' in asked
          ? [`NOTE: ${asked.reason}.`]
          : [],
    ),
    '',
    ...hints(cluster, lab),
  ];
  const value = { seconds, asked: services, ...status };
  await write(streams, options.output, value, () => `${text().join('\n')}\n`);
  return 0;
}

function hints(cluster: Cluster, lab: string): string[] {
  const client = cluster.nodes.find(({ role }) => role === 'client')?.name;
  const service = cluster.services.find(({ serves }) => serves === 'http');
  const which = labNames().length > 1 ? ` --lab ${lab}` : '';
  return [
    ...(client && service
      ? [`headgate lab exec${which} ${client} -- curl -s http://${endpoint(service.address, service.port)}/`]
      : []),
    `headgate lab status ${lab}`,
    `headgate lab down ${lab}`,
  ];
}

/** `lab test` takes down what bears its names. */
const testPrefix = 'test-';

function checkName(lab: string): void {
  if (lab.startsWith(testPrefix))
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot name a lab "${lab}": names with "${testPrefix}" belong to "lab test"`,
      {
        hint: `headgate lab up nat --name ${lab.slice(testPrefix.length) || 'mine'}`,
      },
    );
  if (/^[a-z0-9][a-z0-9-]{0,19}$/.test(lab)) return;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot name a lab "${lab}": wanted 1 to 20 lower-case letters, digits and dashes, found ${lab.length} characters`,
    { hint: 'headgate lab up nat --name mylab' },
  );
}

/** A built-in cluster by name, or the one a file describes. */
async function clusterFor(which: string): Promise<Cluster> {
  const builtIn = builtInClusters.find(({ name }) => name === which);
  if (builtIn) return builtIn;
  if (existsSync(which) && statSync(which).isFile()) {
    const { readCluster } = await import('../lab/cluster-file.ts');
    return readCluster(readFileSync(which, 'utf8'), which);
  }
  const near = suggest(
    which,
    builtInClusters.map(({ name }) => name),
  );
  throw new HeadgateError(
    'HG_LAB_UNKNOWN',
    `Cannot set up the lab "${which}": it is neither a built-in one nor a file`,
    near === undefined ? {} : { hint: `did you mean "headgate lab up ${near}"?` },
  );
}

/** `lab list`. */
export async function labList(options: LabOptions, streams: Streams): Promise<number> {
  const standing = labNames().map((lab) => {
    const record = readLab(lab);
    return { lab, cluster: record?.cluster.name, state: record?.complete ? 'up' : 'half built' };
  });
  const builtIn = builtInClusters.map(({ name, summary }) => ({ name, summary }));
  const width = Math.max(...builtIn.map(({ name }) => name.length));
  const lines = [
    'Built in:',
    ...builtIn.map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    '',
    standing.length === 0 ? 'No lab stands. Set one up: headgate lab up nat' : 'Standing:',
    ...standing.map(({ lab, cluster, state }) => `  ${lab.padEnd(width)}  ${state}, from ${cluster ?? '?'}`),
  ];
  await write(streams, options.output, { builtIn, standing }, () => `${lines.join('\n')}\n`);
  return 0;
}

/** The lab a command is about: the one named, or the only one. */
function standing(lab: string | undefined): LabRecord {
  const names = labNames();
  if (lab !== undefined) {
    const record = readLab(lab);
    if (record) return record;
    const found = names.length === 0 ? 'none stands' : `there is ${names.join(', ')}`;
    throw new HeadgateError('HG_LAB_UNKNOWN', `Cannot find the lab "${lab}": ${found}`);
  }
  if (names.length === 1) return readLab(names[0]!)!;
  if (names.length === 0)
    throw new HeadgateError('HG_LAB_UNKNOWN', 'Cannot tell which lab is meant: none stands', {
      hint: 'headgate lab up nat',
    });
  throw new HeadgateError('HG_USAGE', `Cannot tell which lab is meant: there are ${names.join(', ')}`, {
    hint: `name it: --lab ${names[0]}`,
  });
}

/** `lab status [LAB]`. Exit code 1 when something is wrong. */
export async function labStatus(options: LabOptions, streams: Streams): Promise<number> {
  const status = await statusOf(standing(options.lab), headgate);
  await write(streams, options.output, status, () => `${statusPicture(status).join('\n')}\n`);
  return status.problems.length > 0 ? 1 : 0;
}

/** `lab exec NODE -- COMMAND`: the command's own streams, and its exit code. */
export async function labExec(
  node: string,
  command: readonly string[],
  options: Pick<LabOptions, 'lab'>,
): Promise<number> {
  if (command[0] !== '--' && command[0]?.startsWith('-'))
    throw new HeadgateError(
      'HG_USAGE',
      `Cannot run "${command[0]}" on "${node}": wanted options of "lab exec" before the node, the command behind "--"`,
      { hint: `headgate lab exec --lab LAB ${node} -- COMMAND` },
    );
  const record = standing(options.lab);
  const { name } = nodeOf(record, node);
  const words = command[0] === '--' ? command.slice(1) : command;
  if (words.length === 0)
    throw new HeadgateError('HG_USAGE', `Cannot run nothing on "${node}": wanted a command after "--"`, {
      hint: `headgate lab exec ${node} -- ps`,
    });
  const { spawnInNode } = await import('../lab/exec.ts');
  const { code, signal } = await spawnInNode(record, nodeNetns(record.name, name), words, headgate);
  return signal === null ? (code ?? 1) : 128 + constants.signals[signal];
}

function nodeOf(record: LabRecord, node: string): { name: string } {
  const names = record.cluster.nodes.map(({ name }) => name);
  const found = record.cluster.nodes.find(({ name }) => name === node);
  if (found) return found;
  const near = suggest(node, names);
  throw new HeadgateError(
    'HG_LAB_UNKNOWN',
    `Cannot find the node "${node}" in the lab "${record.name}": there is ${names.join(', ')}`,
    near === undefined ? { hint: `headgate lab status ${record.name}` } : { hint: `did you mean "${near}"?` },
  );
}

/** `lab down [LAB]`. */
export async function labDown(options: LabOptions, streams: Streams): Promise<number> {
  const lab = options.lab ?? standing(undefined).name;
  if (!(await takeDown(lab, headgate))) standing(lab);
  await write(streams, options.output, { lab, removed: true }, () => `The lab "${lab}" is gone.\n`);
  return 0;
}

const faultsDone = {
  kill: 'is killed: no process, links down.',
  restore: 'is back.',
  cut: 'is cut.',
  mend: 'is mended.',
} as const;

/** `lab kill|restore NODE`, `lab cut|mend LINK[:NODE]`. */
export async function labFault(
  verb: keyof typeof faultsDone,
  what: string,
  options: LabOptions,
  streams: Streams,
): Promise<number> {
  const record = standing(options.lab);
  if (verb === 'cut' || verb === 'mend') {
    switchCables(record.name, what, verb === 'mend');
  } else {
    const { name } = nodeOf(record, what);
    if (verb === 'kill') killNode(record.name, name);
    else await restoreNode(record.name, name, headgate);
  }
  const value = { lab: record.name, ...readLab(record.name)!.faults };
  await write(
    streams,
    options.output,
    value,
    () => `"${what}" in the lab "${record.name}" ${faultsDone[verb]}\n`,
  );
  return 0;
}
