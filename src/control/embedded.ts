import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type { FastPathWish } from '../dataplane/ebpf/fast-path.ts';
import { openHostPlane } from '../dataplane/ebpf/host.ts';
import type { EbpfOptions } from '../dataplane/ebpf/plane.ts';
import {
  hostPlaneDirectory,
  instanceDirectory,
  removeSilentFolders,
  usesIpvsHere,
} from '../dataplane/instance-folder.ts';
import { HeadgateError } from '../model/errors.ts';
import { type NumberSysctlName, type Sysctls, sysctlRanges } from '../model/sysctls.ts';
import { type Applied, readApplied } from './applied.ts';
import type { OwnController } from './controller.ts';
import { namespaceState, stateDirectory } from './state-directory.ts';
import { settled } from './underway.ts';

/** Sizes a connection table may have. */
const [leastConnections, mostConnections] = [256, 1 << 27];

/** A plane in the kernel, or whichever can be had; the first change made by one decides for the commands that follow. */
export type Wish = { readonly dataPlane?: 'auto' | 'ebpf' | 'ipvs'; readonly connections?: number };

/**
 * Opens this network namespace's data plane in this process and holds its lock until `close`: the one that is wished for, by
 * HEADGATE_PLANE or the caller; else the one in use here; else ebpf, or ipvs where the kernel lets nobody load programs.
 * What follows is about ebpf. The table is made for
 * HEADGATE_CONNECTIONS connections, else for `connections` (default 1 Mi), when the first change sets the plane up, with
 * net.ipv4.vs.pmtu_disc as HEADGATE_PMTU_DISC says (default 1), expire_nodest_conn as HEADGATE_EXPIRE_NODEST_CONN (0),
 * expire_quiescent_template as HEADGATE_EXPIRE_QUIESCENT_TEMPLATE (0), and tables of mh by HEADGATE_MH_TAB_INDEX (12). HEADGATE_XDP names the interfaces that run the fast
 * path, and no others then do; while it is not set, those that do go on. Rejects with a HeadgateError.
 */
export async function openController(options: Wish = {}): Promise<OwnController> {
  return settled(await openUntouched(options));
}

/** Like openController, for a look at the host: nothing is read or settled before it is asked for. */
export async function openUntouched(options: Wish = {}): Promise<OwnController> {
  const given = planeFromEnvironment();
  const wish = given ?? options.dataPlane ?? 'auto';
  if (wish === 'ipvs') return openIpvs(`as ${given ? 'HEADGATE_PLANE' : 'dataPlane'} says`);
  if (usesIpvsHere()) {
    if (wish === 'auto') return openIpvs('which is in use here');
    throw new HeadgateError(
      'HG_USAGE',
      'Cannot use the data plane "ebpf" here: the data plane of this network namespace is "ipvs", and both would forward',
      { hint: 'headgate migrate ipvs-to-ebpf (connections go on), or dataPlane: ipvs' },
    );
  }
  try {
    return await openEbpf(options);
  } catch (error) {
    const impossible = error instanceof HeadgateError && noEbpf.has(error.code);
    if (wish === 'ebpf' || !impossible) throw error;
    // What stands in the way of the better one is what is to be mended.
    return openIpvs(`because ebpf cannot be had: ${error.message}`).catch(() => Promise.reject(error));
  }
}

/** Why there is no ebpf plane, and may be another. */
const noEbpf = new Set(['HG_NOT_ROOT', 'HG_NO_BPF', 'HG_NO_BPFFS']);

/** Opens the plane of this name, which is there, under the lock that whoever has `held` holds. Rejects with a HeadgateError. */
export async function openUnder(
  held: OwnController,
  name: 'ebpf' | 'ipvs',
  options: Pick<Wish, 'connections'>,
): Promise<OwnController> {
  const { lock } = held;
  const because = 'as headgate migrate says';
  return settled(await (name === 'ipvs' ? openIpvs(because, lock) : openEbpf({ ...options, because }, lock)));
}

async function openIpvs(because: string, held?: OwnController['lock']): Promise<OwnController> {
  return (await import('../dataplane/ipvs/host.ts')).openHostIpvsPlane(because, held);
}

async function openEbpf(
  options: Wish & Pick<EbpfOptions, 'because'>,
  held?: OwnController['lock'],
): Promise<OwnController> {
  const connections = connectionsFromEnvironment() ?? options.connections;
  const sysctls = sysctlsFromEnvironment();
  const fastPath = fastPathFromEnvironment();
  return openHostPlane(
    {
      ...(options.because !== undefined && { because: options.because }),
      ...(connections !== undefined && { connections }),
      ...(sysctls && { sysctls }),
      ...(fastPath && { fastPath }),
    },
    held,
  );
}

/** Where the daemon of this network namespace serves the control API. */
export const controlSocket = (): string => join(instanceDirectory(), 'control.sock');

/** Removes what is left of daemons that were killed: folders of network namespaces with nothing but dead sockets in them. */
export const removeLeftFolders = (): Promise<void> => removeSilentFolders();

/** Where the plane of this network namespace keeps what lives as long as it does; it may not be there. */
export const planeDirectory = (): string => hostPlaneDirectory();

/** What was applied last in this network namespace, read without the lock; undefined when nothing was, or this user may not know. */
export function lastApplied(): Applied | undefined {
  try {
    return readApplied(hostPlaneDirectory());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EACCES') throw error;
    return undefined;
  }
}

/** Where what people have decided in this network namespace is kept. */
export const keptDirectory = (): string | undefined => stateDirectory(hostPlaneDirectory());

/**
 * Removes this network namespace's data plane, and what is kept for a namespace that the machine did not start with: such a
 * one may be gone next. No error when there is none.
 */
export async function removePlane(): Promise<void> {
  const plane = usesIpvsHere() ? await openIpvs('which is in use here') : await openHostPlane();
  if (plane.directory) rmSync(namespaceState(plane.directory), { recursive: true, force: true });
  await plane.cleanUp();
}

/** HEADGATE_PLANE. Throws HG_USAGE. */
function planeFromEnvironment(): Wish['dataPlane'] {
  const text = process.env.HEADGATE_PLANE;
  if (text === undefined || text === '') return undefined;
  if (text === 'auto' || text === 'ebpf' || text === 'ipvs') return text;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot read HEADGATE_PLANE "${text}": wanted auto, ebpf or ipvs (proxy lives in a daemon: headgate run)`,
  );
}

/** HEADGATE_CONNECTIONS. Throws HG_USAGE. */
export function connectionsFromEnvironment(): number | undefined {
  const text = process.env.HEADGATE_CONNECTIONS;
  if (text === undefined || text === '') return undefined;
  const wanted = Number(text);
  if (Number.isInteger(wanted) && wanted >= leastConnections && wanted <= mostConnections) return wanted;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot read HEADGATE_CONNECTIONS "${text}": wanted a number from ${leastConnections} to ${mostConnections}`,
  );
}

/** Those that the first command may say; the others are set when the plane is there. */
const sysctlVariables: Partial<Readonly<Record<NumberSysctlName, string>>> = {
  pmtu_disc: 'HEADGATE_PMTU_DISC',
  expire_nodest_conn: 'HEADGATE_EXPIRE_NODEST_CONN',
  expire_quiescent_template: 'HEADGATE_EXPIRE_QUIESCENT_TEMPLATE',
  mh_tab_index: 'HEADGATE_MH_TAB_INDEX',
};

/** What those variables say; undefined: nothing. Throws HG_USAGE. */
export function sysctlsFromEnvironment(): Partial<Sysctls> | undefined {
  const said = Object.entries(sysctlVariables).flatMap(([name, variable]) => {
    const text = process.env[variable];
    if (text === undefined || text === '') return [];
    const [least, most] = sysctlRanges[name as NumberSysctlName];
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return [[name, value]];
    const wanted = most === 1 ? '0 or 1' : `a number from ${least} to ${most}`;
    throw new HeadgateError('HG_USAGE', `Cannot read ${variable} "${text}": wanted ${wanted}`);
  });
  return said.length > 0 ? Object.fromEntries(said) : undefined;
}

/** HEADGATE_XDP="eth0,eth1:generic"; empty: none. */
function fastPathFromEnvironment(): FastPathWish[] | undefined {
  const text = process.env.HEADGATE_XDP;
  if (text === undefined) return undefined;
  const words = text.split(',').map((word) => word.trim());
  const wishes = new Map<string, FastPathWish>();
  for (const word of words.filter((word) => word !== '')) {
    const [, name, mode] = /^([^\s:/]{1,15})(:generic)?$/.exec(word) ?? [];
    if (name === undefined) {
      throw new HeadgateError(
        'HG_USAGE',
        `Cannot read HEADGATE_XDP "${text}": wanted names of interfaces separated by commas, each as "eth0" or "eth0:generic", found "${word}"`,
      );
    }
    wishes.set(name, { name, mode: mode === undefined ? 'native' : 'generic' });
  }
  return [...wishes.values()];
}
