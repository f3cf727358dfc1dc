import type { Problem } from '../../../model/errors.ts';
import type { Source, Span } from '../../../model/problem.ts';
import type { TreeNode } from '../../tree.ts';
import type { Adapted, Adapter, AdapterContext } from '../adapter.ts';
import { listAt, mapAt } from '../build-tree.ts';
import { readStatements, type Statement } from './blocks.ts';
import type { Certificates } from './checker-context.ts';
import { type Group, readGroup } from './groups.ts';
import { notesOf } from './notes.ts';
import { readLines } from './reader.ts';
import { repaired } from './repairs.ts';
import { ignoreAll, type Scope } from './scope.ts';
import type { ServiceDraft } from './service-draft.ts';
import { serviceNodes } from './service-tree.ts';
import { readVirtualServer } from './virtual-server.ts';

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

function read(source: Source, context: AdapterContext): Adapted {
  const { names, environment, files, hostName } = context;
  const notes = notesOf(source);
  const problems: Problem[] = [];
  const configId = environment.HEADGATE_CONFIG_ID ?? hostName.split('.')[0] ?? '';
  const { lines, files: read } = readLines(source, { files, environment, configId, notes, problems });
  const statements = readStatements(lines, { notes, problems });
  const scope: Scope = { notes, problems, names, commands: [] };
  const whole: Span = { source, start: 0, end: source.text.length };
  const root = mapAt(whole, { virtualServices: servicesNode(statements, whole, scope) });
  return { root, comments: new Map(), notes: notes.all(), problems, files: read };
}

function servicesNode(statements: readonly Statement[], whole: Span, scope: Scope): TreeNode {
  const groups = new Map<string, Group>();
  const drafts: ServiceDraft[] = [];
  const certificates: Certificates = {};
  for (const statement of statements) {
    if (statement.keyword === 'virtual_server_group') {
      const group = readGroup(statement, scope);
      if (group) groups.set(group.name, group);
    } else if (statement.keyword === 'virtual_server') {
      const draft = readVirtualServer(statement, scope);
      if (draft) drafts.push(draft);
    } else ignoreAll([statement], `"${statement.keyword}" is not read yet`, scope);
  }
  const context = { ...scope, certificates, taken: new Set<string>(), usedNames: new Set<string>() };
  return listAt(
    whole,
    drafts.flatMap((draft) => {
      const service = repaired(draft, groups, scope);
      return service ? serviceNodes(service, context) : [];
    }),
  );
}
