import type { Problem } from '../../../model/errors.ts';
import type { Source, Span } from '../../../model/problem.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import type { Adapted, Adapter, AdapterContext } from '../adapter.ts';
import { listAt, mapAt } from '../build-tree.ts';
import { alertsNode } from './alerts.ts';
import { readStatements, type Statement } from './blocks.ts';
import type { Certificates, TrackFile } from './checker-context.ts';
import { type Globals, newGlobals, readGlobals } from './globals.ts';
import { type Group, readGroup } from './groups.ts';
import { notesOf } from './notes.ts';
import { readLines } from './reader.ts';
import { repaired } from './repairs.ts';
import { ignoreAll, type Scope } from './scope.ts';
import { anyThere, testCodesOf } from './security.ts';
import type { ServiceDraft } from './service-draft.ts';
import { serviceNodes } from './service-tree.ts';
import { readCertificates, readTrackFile } from './small-blocks.ts';
import { readVirtualServer } from './virtual-server.ts';
import { instanceNode } from './vrrp.ts';
import { groupNode } from './vrrp-group.ts';
import { readScript, type VrrpScript } from './vrrp-script.ts';

/** keepalived.conf as it is, with all it includes (keepalived.conf(5)). */
export const keepalivedAdapter: Adapter = {
  name: 'keepalived',
  title: 'a configuration of keepalived',
  detects,
  read,
};

const blocks =
  'global_defs|virtual_server|virtual_server_group|vrrp_instance|vrrp_sync_group|vrrp_script|vrrp_track_process|vrrp_track_file|track_file|bfd_instance|static_ipaddress|static_routes|static_rules|garp_group|track_group|linkbeat_interfaces|interface_up_down_delays';
const begins = new RegExp(
  `^[ \\t\\u00a0\\ufeff]*(?:@\\S+[ \\t]+)?(?:${blocks})(?:[ \\t]+[^\\s:=][^\\n]*|[ \\t\\r]*|[ \\t]*\\{[^\\n]*)$`,
  'm',
);
const nameOfFile = /(?:^|\/)keepalived[^/]*\.conf(?:\.[^/]*)?$/;

function detects(text: string, fileName: string): boolean {
  if (text.includes('\0')) return false;
  if (begins.test(text)) return true;
  // A file that only includes others has nothing but its name.
  return nameOfFile.test(fileName) && !/^[A-Za-z]\w*:/m.test(text);
}

function read(source: Source, { names, environment, files, hostName }: AdapterContext): Adapted {
  const notes = notesOf(source);
  const problems: Problem[] = [];
  const configId = environment.HEADGATE_CONFIG_ID ?? hostName.split('.')[0] ?? '';
  const { lines, files: included } = readLines(source, { files, environment, configId, notes, problems });
  const statements = readStatements(lines, { notes, problems });
  const scope: Scope = { notes, problems, names, commands: [] };
  const whole: Span = { source, start: 0, end: source.text.length };
  const { root, globals } = rootOf(statements, whole, hostName, scope);
  const all = notes.all();
  const programs = scope.commands.map(({ program }) => program);
  const testCodes = testCodesOf({
    mistakes: all.some(({ mistake }) => mistake),
    insecure: !globals.scriptSecurity && anyThere(programs, files),
  });
  return { root, comments: new Map(), notes: all, problems, files: included, testCodes };
}

/** What the blocks of a file hold, by kind. */
type Parts = {
  readonly globals: Globals;
  readonly groups: Map<string, Group>;
  readonly drafts: ServiceDraft[];
  readonly certificates: Certificates;
  readonly trackFiles: Map<string, TrackFile>;
  readonly scripts: Map<string, VrrpScript>;
  readonly instances: Statement[];
  readonly syncGroups: Statement[];
};

function rootOf(
  statements: readonly Statement[],
  whole: Span,
  hostName: string,
  scope: Scope,
): { root: MapNode; globals: Globals } {
  const parts: Parts = {
    globals: newGlobals(),
    ...{ groups: new Map(), drafts: [], certificates: {}, trackFiles: new Map(), scripts: new Map() },
    ...{ instances: [], syncGroups: [] },
  };
  for (const statement of statements) takeBlock(statement, parts, scope);
  const { globals } = parts;
  const failover = failoverNode(parts, whole, scope);
  const timeouts = Object.keys(globals.timeouts).length > 0 ? mapAt(whole, globals.timeouts) : undefined;
  const root = mapAt(whole, {
    own: globals.own,
    timeouts,
    alerts: alertsNode(globals.mail, hostName, scope),
    virtualServices: servicesNode(parts, whole, scope),
    failover,
  });
  return { root, globals };
}

const otherBlocks: Readonly<Record<string, string>> = {
  static_ipaddress: 'addresses that do not move are set by the host',
  static_routes: 'routes are set by the host',
  static_rules: 'rules of routing are set by the host',
  bfd_instance: 'BFD is not spoken',
  vrrp_track_process: 'processes are not tracked: a script can look for one',
  garp_group: 'gratuitous ARP has one pace for all interfaces',
  track_group: 'static addresses and routes are not kept',
  linkbeat_interfaces: 'the kernel tells of every link',
  interface_up_down_delays: 'a link counts at once',
};

function takeBlock(statement: Statement, parts: Parts, scope: Scope): void {
  switch (statement.keyword) {
    case 'global_defs':
      readGlobals(statement, parts.globals, scope);
      return;
    case 'virtual_server_group': {
      const group = readGroup(statement, scope);
      if (group) parts.groups.set(group.name, group);
      return;
    }
    case 'virtual_server': {
      const draft = readVirtualServer(statement, scope);
      if (draft) parts.drafts.push(draft);
      return;
    }
    case 'SSL':
      readCertificates(statement, parts.certificates, scope);
      return;
    case 'track_file':
    case 'vrrp_track_file':
      readTrackFile(statement, parts.trackFiles, scope);
      return;
    case 'vrrp_script': {
      const read = readScript(statement, scope);
      if (read) parts.scripts.set(read.key, read.script);
      return;
    }
    case 'vrrp_instance':
      parts.instances.push(statement);
      return;
    case 'vrrp_sync_group':
      parts.syncGroups.push(statement);
      return;
    default: {
      const { keyword } = statement;
      const reason = otherBlocks[keyword] ?? 'each network namespace has a director of its own';
      ignoreAll([statement], reason, scope);
    }
  }
}

function servicesNode(parts: Parts, whole: Span, scope: Scope): TreeNode {
  const { drafts, groups, globals, certificates, trackFiles } = parts;
  const context = {
    ...scope,
    ...{ certificates, trackFiles, scriptUser: globals.scriptUser },
    ...{ taken: new Set<string>(), usedNames: new Set<string>() },
  };
  const nodes = drafts.flatMap((draft) => {
    const service = repaired(draft, groups, scope);
    return service ? serviceNodes(service, context) : [];
  });
  const asked = new Set(drafts.map(({ where }) => (where.kind === 'group' ? where.name : undefined)));
  for (const { name, span } of groups.values())
    if (!asked.has(name)) scope.notes.ignored(span, 'no virtual server asks for this group');
  return listAt(whole, nodes);
}

function failoverNode(parts: Parts, whole: Span, scope: Scope): TreeNode | undefined {
  const { globals, scripts } = parts;
  const context = {
    ...scope,
    ...{ globals, scripts, instances: new Map<string, string>(), routers: new Set<string>() },
  };
  const vrrp = parts.instances.flatMap((statement) => instanceNode(statement, context) ?? []);
  const names = new Set<string>();
  const groups = parts.syncGroups.flatMap((statement) => groupNode(statement, names, context) ?? []);
  const tracked = [...scripts.values()].filter((script) => {
    if (!script.tracked) scope.notes.changed(script.span, 'no instance tracks this script: it is not run');
    return script.tracked;
  });
  if (vrrp.length === 0 && groups.length === 0 && !globals.sync) return undefined;
  const list = (nodes: readonly MapNode[]) => (nodes.length > 0 ? listAt(whole, nodes) : undefined);
  return mapAt(whole, {
    vrrp: list(vrrp),
    groups: list(groups),
    scripts: list(tracked.map(({ node }) => node)),
    connectionSync: globals.sync,
  });
}
