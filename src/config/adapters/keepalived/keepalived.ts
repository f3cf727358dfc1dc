import type { Problem } from '../../../model/errors.ts';
import type { Source, Span } from '../../../model/problem.ts';
import type { MapNode, TreeNode } from '../../tree.ts';
import type { Adapted, Adapter, AdapterContext } from '../adapter.ts';
import { listAt, mapAt } from '../build-tree.ts';
import { alertsNode } from './alerts.ts';
import { readStatements, type Statement, type Value } from './blocks.ts';
import type { Certificates, TrackFile } from './checker-context.ts';
import { type Globals, newGlobals, readGlobals, reasonFor } from './globals.ts';
import { type Group, readGroup } from './groups.ts';
import { notesOf } from './notes.ts';
import { listed, nodesAt, routeNode, ruleNode, staticAddressNode } from './paths.ts';
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
import { readScript } from './vrrp-script.ts';
import { readProcess, type TrackedThing, type TrackerKeyword } from './vrrp-things.ts';
import { isTracker } from './vrrp-tracking.ts';

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
  readonly scripts: Map<string, TrackedThing>;
  readonly numberFiles: Map<string, TrackedThing>;
  readonly processes: Map<string, TrackedThing>;
  readonly instances: Statement[];
  readonly syncGroups: Statement[];
  readonly always: { readonly addresses: MapNode[]; readonly routes: MapNode[]; readonly rules: MapNode[] };
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
    ...{ numberFiles: new Map(), processes: new Map() },
    ...{ instances: [], syncGroups: [], always: { addresses: [], routes: [], rules: [] } },
  };
  for (const statement of statements) takeBlock(statement, parts, scope);
  const { globals } = parts;
  // Instances may say that mails tell of them.
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
  bfd_instance: 'BFD is not spoken',
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
      readTrackFile(statement, parts.trackFiles, parts.numberFiles, scope);
      return;
    case 'vrrp_script': {
      const read = readScript(statement, scope);
      if (read) parts.scripts.set(read.key, read.script);
      return;
    }
    case 'vrrp_track_process': {
      const read = readProcess(statement, scope);
      if (read) parts.processes.set(read.key, read.thing);
      return;
    }
    case 'static_ipaddress':
    case 'static_routes':
    case 'static_rules':
      takeAlways(statement, parts, scope);
      return;
    case 'vrrp_instance':
      parts.instances.push(statement);
      return;
    case 'vrrp_sync_group':
      parts.syncGroups.push(statement);
      return;
    case 'include_check':
      scope.notes.kept(statement.span, 'how includes are checked');
      return;
    default:
      ignoreAll([statement], otherBlocks[statement.keyword] ?? reasonFor(statement.keyword), scope);
  }
}

function takeAlways({ keyword, span, values }: Statement, { always, globals }: Parts, scope: Scope): void {
  scope.notes.kept(span, '"failover.always"');
  for (const value of values) {
    if (keyword === 'static_ipaddress')
      always.addresses.push(...listed(staticAddressNode(value, globals.usualInterface, scope)));
    else if (keyword === 'static_routes') always.routes.push(...listed(routeNode(value, scope)));
    else always.rules.push(...listed(ruleNode(value, scope)));
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
  const { globals, scripts, numberFiles, processes } = parts;
  const context = {
    ...scope,
    ...{ globals, scripts, numberFiles, processes, groupTrackers: trackersOfGroups(parts.syncGroups) },
    ...{ instances: new Map<string, string>(), routers: new Set<string>() },
  };
  const vrrp = parts.instances.flatMap((statement) => instanceNode(statement, context) ?? []);
  const names = new Set<string>();
  const groups = parts.syncGroups.flatMap((statement) => groupNode(statement, names, context) ?? []);
  const tracked = [...scripts.values()].filter((script) => {
    if (!script.tracked) scope.notes.changed(script.span, 'no instance tracks this script: it is not run');
    return script.tracked;
  });
  const { addresses, routes, rules } = parts.always;
  const holds = addresses.length + routes.length + rules.length > 0;
  if (vrrp.length === 0 && groups.length === 0 && !globals.sync && !holds) return undefined;
  const [user, group] = globals.scriptUser ?? [];
  const programs = tracked.length > 0 || [...vrrp, ...groups].some(({ members }) => members.has('notify'));
  const things = (all: ReadonlyMap<string, TrackedThing>) =>
    [...all.values()].filter((one) => one.tracked).map(({ node }) => node);
  const list = (nodes: readonly MapNode[]) => (nodes.length > 0 ? listAt(whole, nodes) : undefined);
  return mapAt(whole, {
    vrrp: list(vrrp),
    groups: list(groups),
    scripts: list(tracked.map(({ node }) => node)),
    always: holds
      ? mapAt(whole, {
          addresses: nodesAt(addresses, whole),
          routes: nodesAt(routes, whole),
          rules: nodesAt(rules, whole),
        })
      : undefined,
    files: list(things(numberFiles)),
    processes: list(things(processes)),
    user: programs ? user : undefined,
    group: programs ? group : undefined,
    pipe: globals.pipe,
    connectionSync: globals.sync,
  });
}

/** What groups track, by the names of their members. */
function trackersOfGroups(groups: readonly Statement[]) {
  const found = new Map<string, { keyword: TrackerKeyword; value: Value }[]>();
  for (const { statements } of groups) {
    const members = statements.flatMap(({ keyword, values }) =>
      keyword === 'group' ? values.flatMap(({ words }) => words.map(({ text }) => text)) : [],
    );
    for (const { keyword, values } of statements)
      if (isTracker(keyword))
        for (const member of members)
          found.set(member, [...(found.get(member) ?? []), ...values.map((value) => ({ keyword, value }))]);
  }
  return found;
}
