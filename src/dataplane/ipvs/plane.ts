import { HeadgateError } from '../../model/errors.ts';
import { normaliseDestination } from '../../model/real-server.ts';
import { serviceKey } from '../../model/service-id.ts';
import {
  type NumberSysctlName,
  type NumberSysctls,
  type Sysctls,
  sysctlDefaults,
  sysctlText,
  sysctlTitle,
} from '../../model/sysctls.ts';
import type { Observed, Operation, Refusal } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import { loadModule } from '../../sys/kernel-module.ts';
import { NetlinkError } from '../../sys/netlink/socket.ts';
import { readSysctl, writeSysctl } from '../../sys/sysctl.ts';
import type { DataPlane } from '../data-plane.ts';
import { type Beside, besideAfter, isInUse, readBeside, withBeside, writeBeside } from './beside.ts';
import { readConnectionList } from './connection-list.ts';
import { ftpModule, kernelFtpPorts } from './ftp-helper.ts';
import { inPlane } from './in-plane.ts';
import { type Kernel, openKernel } from './kernel.ts';
import { kernelMhTableIndex, mhRoom } from './mh-table.ts';
import { imaginedFor, refusalOf } from './refusal.ts';
import { kernelSync } from './sync.ts';

const module = 'ip_vs';

export type IpvsOptions = {
  /** A folder for what the kernel has no place for; without it that is forgotten with the process. */
  readonly directory?: string;
  /** Why it is this plane, in a few words. */
  readonly because?: string;
  /** What is wanted of it, where that is not a data plane: what cannot be done without IPVS, and the next step then. */
  readonly purpose?: { readonly action: string; readonly hint: string };
};

/**
 * The kernel's IPVS in this process's network namespace. The table is the kernel's: other programs change it as well, and
 * nothing is kept of it here. The thread stays in this namespace while the plane is open. Throws HG_IPVS, HG_NOT_ROOT.
 */
export function openIpvsPlane({ directory, because, purpose }: IpvsOptions = {}): DataPlane {
  const action = purpose?.action ?? 'open the data plane';
  const kernel = inPlane(action, () => openOrLoad(action, purpose?.hint));
  const { version } = inPlane(action, kernel.info);
  let beside: Beside = readBeside(directory);
  const sync = kernelSync(kernel, directory);

  return {
    capabilities: {
      name: 'ipvs',
      description: `IPVS ${version} of this kernel${because === undefined ? '' : `, ${because}`}`,
      ignores: ['when-gone', 'maintenance-of-persistent'],
      shared: true,
    },
    ...(directory !== undefined && { directory }),
    read: async () => inPlane('read the table', read),
    apply: async (operations) => inPlane('apply a change', () => apply(operations)),
    connections: readConnectionList,
    outlook: async (_id, addresses) => {
      const { pathsTo } = await import('../ebpf/outlook.ts');
      return { paths: pathsTo(addresses) };
    },
    survey: async () => {
      const { addressesOf, surveyAround } = await import('../ebpf/survey.ts');
      return surveyAround(undefined, addressesOf(inPlane('read the table', kernel.services)));
    },
    async startSync(settings) {
      const refusal = inPlane('start connection sync', () => sync.start(settings));
      // Later commands know by it that this plane is in use.
      if (!refusal && !isInUse(directory)) writeBeside(directory, beside);
      return refusal;
    },
    stopSync: async (role) => inPlane('stop connection sync', () => sync.stop(role)),
    syncDaemons: async () => inPlane('list sync daemons', sync.running),
    close: async () => kernel.close(),
    cleanUp: async () =>
      inPlane('remove the plane', () => {
        // What others made is theirs.
        const own = kernel.services().filter(({ service }) => Object.hasOwn(beside, serviceKey(service.id)));
        apply(own.map(({ service }) => ({ kind: 'delete-service', id: service.id })));
        for (const { role, digest } of sync.running()) if (digest !== undefined) sync.stop(role);
        kernel.close();
      }),
  };

  function read(): Observed {
    return {
      services: kernel.services().map((state) => withBeside(state, beside)),
      timeouts: kernel.timeouts(),
      sysctls: readSysctls(),
      connectionTableSize: kernel.info().tableSize,
    };
  }

  function apply(operations: readonly Operation[]): readonly (Refusal | undefined)[] {
    const room = mhRoom(kernel);
    const before = beside;
    try {
      return operations.map((operation) => {
        const refusal = applyOne(normalised(operation), room);
        if (!refusal) beside = besideAfter(beside, operation);
        return refusal;
      });
    } finally {
      if (beside !== before || !isInUse(directory)) writeBeside(directory, beside);
    }
  }

  function applyOne(operation: Operation, room: ReturnType<typeof mhRoom>): Refusal | undefined {
    if (isFullNat(operation)) return noFullNat;
    const wrong = checkOperation(operation, imaginedFor(operation), { isLocal: () => true });
    // The kernel cannot be told such values. Which schedulers there are it knows itself.
    if (wrong && wrong.reason !== 'unknown-scheduler' && !isAbsence(wrong))
      return missing(operation) ?? wrong;
    if (operation.kind === 'set-sysctls') return setSysctls(operation.sysctls);
    const full = room(operation);
    if (full) return full;
    try {
      kernel.carryOut(operation);
      return undefined;
    } catch (error) {
      const refusal = error instanceof NetlinkError ? refusalOf(operation, error) : undefined;
      if (!refusal) throw error;
      return refusal;
    }
  }

  /** The kernel looks for the service before it looks at the values. */
  function missing(operation: Operation): Refusal | undefined {
    const id = 'service' in operation ? operation.service.id : 'id' in operation ? operation.id : undefined;
    if (!id) return undefined;
    const found = kernel.service(id) !== undefined;
    if (operation.kind === 'add-service')
      return found ? { reason: 'service-exists', detail: `${serviceKey(id)} is there already` } : undefined;
    return found ? undefined : { reason: 'no-such-service', detail: `${serviceKey(id)} is not there` };
  }
}

const noFullNat: Refusal = {
  reason: 'invalid',
  detail:
    'the kernel’s IPVS has no full NAT: wanted masquerade, direct-routing or tunnel, or the ebpf data plane',
};

const isFullNat = (operation: Operation): boolean =>
  (operation.kind === 'add-destination' || operation.kind === 'edit-destination') &&
  operation.destination.method === 'full-nat';

/** Of an operation on something that is not in the imagined table: the kernel's table decides. */
const isAbsence = ({ reason }: Refusal): boolean =>
  reason === 'no-such-service' || reason === 'no-such-destination';

function normalised(operation: Operation): Operation {
  if (operation.kind !== 'add-destination' && operation.kind !== 'edit-destination') return operation;
  return { ...operation, destination: normaliseDestination(operation.destination, operation.id) };
}

/** The kernel has threshold and period under one name. */
const kernelName = (name: string): string => (name === 'sync_period' ? 'sync_threshold' : name);

function readSysctls(): Sysctls {
  const found = Object.entries(sysctlDefaults).map(([name, otherwise]) => {
    // The kernel has none.
    if (name === 'half_open_share') return [name, 0];
    if (name === 'ftp_ports') return [name, kernelFtpPorts()];
    if (name === 'mh_tab_index') return [name, kernelMhTableIndex()];
    const text = readSysctl(`net.ipv4.vs.${kernelName(name)}`);
    const words = text?.trim().split(/\s+/) ?? [];
    return [name, Number(words[name === 'sync_period' ? 1 : 0] ?? otherwise)];
  });
  return Object.fromEntries(found) as Sysctls;
}

function setSysctls({ mh_tab_index: wanted, ftp_ports, ...sysctls }: Partial<Sysctls>): Refusal | undefined {
  if (wanted !== undefined && wanted !== kernelMhTableIndex())
    return {
      reason: 'invalid',
      detail: `${sysctlTitle('mh_tab_index')} is ${kernelMhTableIndex()} here: the kernel was built with CONFIG_IP_VS_MH_TAB_INDEX=${kernelMhTableIndex()}`,
    };
  if (ftp_ports && sysctlText(ftp_ports) !== sysctlText(kernelFtpPorts()))
    return {
      reason: 'invalid',
      detail: `${sysctlTitle('ftp_ports')} is ${sysctlText(kernelFtpPorts())} here: ip_vs_ftp has the ports that it is loaded with, by ${ftpModule(ftp_ports)}`,
    };
  const before = readSysctls();
  const set = (values: Partial<NumberSysctls>) => {
    // The kernel takes the pair at once.
    const { sync_threshold, sync_period, ...single } = values;
    if (sync_threshold !== undefined || sync_period !== undefined) {
      const both = { ...readSysctls(), ...values };
      writeSysctl('net.ipv4.vs.sync_threshold', `${both.sync_threshold} ${both.sync_period}`);
    }
    for (const [name, value] of Object.entries(single)) writeSysctl(`net.ipv4.vs.${name}`, value);
  };
  try {
    set(sysctls);
    return undefined;
  } catch (error) {
    // All or nothing.
    for (const name of Object.keys(sysctls) as NumberSysctlName[]) {
      if (readSysctl(`net.ipv4.vs.${kernelName(name)}`) === undefined) continue;
      if (readSysctls()[name] !== before[name]) set({ [name]: before[name] });
    }
    return { reason: 'invalid', detail: (error as Error).message };
  }
}

function openOrLoad(action: string, hint: string | undefined): Kernel {
  const found = openKernel();
  if (found) return found;
  const why = loadModule(module);
  const loaded = why === undefined ? openKernel() : undefined;
  if (loaded) return loaded;
  throw new HeadgateError(
    'HG_IPVS',
    `Cannot ${action}: this kernel has no IPVS${why === undefined ? '' : `, modprobe ${module} says: ${why}`}`,
    hint === undefined ? {} : { hint },
  );
}
