import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type {
  RunningSync,
  SyncDaemon,
  SyncRefusal,
  SyncRole,
  SyncSettings,
} from '../../model/connection-sync.ts';
import { NetlinkError } from '../../sys/netlink/socket.ts';
import { digestOf } from '../sync-digest.ts';
import type { Kernel } from './kernel.ts';

/*
 * Connection sync of IPVS is a thread of the kernel's a role (net/netfilter/ipvs/ip_vs_sync.c), which runs until it is
 * stopped, whoever started it. What a configuration said of one has no place in the kernel: it stands in a file beside the
 * plane, and holds for a daemon that is still the one that was started then.
 */

type Started = { readonly listed: SyncDaemon; readonly configured?: true; readonly digest: string };
type Notes = Partial<Record<SyncRole, Started>>;

/** As a data plane has them. Each throws NetlinkError or MalformedMessageError. */
export type KernelSync = {
  start(settings: SyncSettings): SyncRefusal | undefined;
  stop(role: SyncRole): SyncRefusal | undefined;
  /** Masters first. One that was started here as a configuration says, or by a person, has its digest. */
  running(): RunningSync[];
};

const fileIn = (directory: string) => join(directory, 'ipvs-sync.json');

/** The kernel's sync daemons; without a folder it is forgotten with the process who started a daemon. */
export function kernelSync(kernel: Kernel, directory: string | undefined): KernelSync {
  let notes: Notes = {};
  const read = (): Notes => (directory === undefined ? notes : readNotes(fileIn(directory)));
  const write = (next: Notes): void => {
    notes = next;
    if (directory !== undefined) writeNotes(fileIn(directory), next);
  };
  const listed = (role: SyncRole) => kernel.daemons().find((one) => one.role === role);

  return {
    start(settings) {
      const unable = whatItLacks(settings);
      if (unable) return { reason: 'invalid', detail: unable };
      const refusal = attempt(settings, () => kernel.startDaemon(settings));
      if (refusal) return refusal;
      const found = listed(settings.role);
      const { configured } = settings;
      if (found)
        write({
          ...read(),
          [settings.role]: { listed: found, digest: digestOf(settings), ...(configured && { configured }) },
        });
      return undefined;
    },
    stop(role) {
      const refusal = attempt({ role }, () => kernel.stopDaemon(role));
      const { [role]: gone, ...rest } = read();
      if (gone) write(rest);
      return refusal;
    },
    running() {
      const known = read();
      return kernel.daemons().map((one): RunningSync => {
        const note = known[one.role];
        if (!note || JSON.stringify(note.listed) !== JSON.stringify(one)) return one;
        const { digest, configured } = note;
        return { ...one, digest, ...(configured && { configured }) };
      });
    },
  };
}

/** What was asked for and the kernel's daemon does not do, with what to do; undefined where it does all of it. */
function whatItLacks({ secret, threshold, refreshSeconds }: SyncSettings): string | undefined {
  if (secret !== undefined)
    return "IPVS's sync daemon sends in clear and listens to everybody: leave the key out, or dataPlane: ebpf";
  if (threshold !== undefined)
    return "IPVS's sync daemons have one threshold and period, the sysctl net.ipv4.vs.sync_threshold: leave theirs out, or dataPlane: ebpf";
  if (refreshSeconds !== undefined)
    return "IPVS's sync daemons have one refresh, the sysctl net.ipv4.vs.sync_refresh_period: leave theirs out, or dataPlane: ebpf";
  return undefined;
}

/** Why the kernel does not do it; throws what is a failure of the whole plane. */
function attempt(
  { role, interface: name, group }: Partial<SyncDaemon> & { readonly role: SyncRole },
  work: () => void,
): SyncRefusal | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof NetlinkError)) throw error;
    switch (error.code) {
      case 'EEXIST':
        return { reason: 'running', detail: `a ${role} sync daemon of the kernel's runs already` };
      case 'ESRCH':
        return { reason: 'not-running', detail: `no ${role} sync daemon of the kernel's runs` };
      case 'ENODEV':
        return { reason: 'no-interface', detail: `there is no interface "${name}"` };
      case 'EADDRNOTAVAIL':
        return { reason: 'invalid', detail: `"${name}" has no address to send to ${group} from` };
      case 'EINVAL':
        return {
          reason: 'invalid',
          detail: `the kernel refuses it: IPVS wants a multicast group, found ${group}, and no real server of another address family than its service`,
        };
      default:
        throw error;
    }
  }
}

function readNotes(path: string): Notes {
  if (!existsSync(path)) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Notes;
  } catch {
    return {};
  }
}

/** Whole or not at all. */
function writeNotes(path: string, notes: Notes): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  writeFileSync(`${path}.new`, `${JSON.stringify(notes)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
