import type { Problem } from '../../model/errors.ts';
import { problemAt, type Source, type Span } from '../../model/problem.ts';
import type { TreeNode } from '../tree.ts';
import { type Adapted, type Adapter, type AdapterContext, noteBook } from './adapter.ts';
import { listAt, mapAt } from './build-tree.ts';
import { alertsNode } from './ldirectord/alerts.ts';
import { includeNode } from './ldirectord/execute.ts';
import { type Line, lineNumber, readLines } from './ldirectord/lines.ts';
import { noteGlobals, noteSection } from './ldirectord/notes.ts';
import { type Fallback, fallbackOf, type Reading, readService, type Service } from './ldirectord/service.ts';
import { readSettings } from './ldirectord/settings.ts';
import { nameOf, serviceTree, type WholeFile } from './ldirectord/tree.ts';

/** Files of ldirectord, ldirectord.cf(5) as version 1.186 reads it. */
export const ldirectordAdapter: Adapter = {
  name: 'ldirectord',
  title: 'a file of ldirectord',
  detects,
  read,
};

const nameOfFile = /(?:^|\/)ldirectord(?:[-_.][^/]*)?\.cf$/;

function detects(text: string, fileName: string): boolean {
  if (text.includes('\0')) return false;
  return nameOfFile.test(fileName) || /^virtual6?[ \t\u00a0]*=/m.test(text);
}

function read(source: Source, { names, files, isPart }: AdapterContext): Adapted {
  const whole: Span = { source, start: 0, end: source.text.length };
  const book = noteBook(source);
  const tell = book.note;
  const { globals, sections, header, problems: mistakes } = readLines(source);
  const problems: Problem[] = [...mistakes];
  const reading: Reading = { names, tell, problems };
  const settings = readSettings(globals, 'global', tell, problems);
  const file: WholeFile = { settings, fallbackFor: fallbacksOf(settings, reading) };
  noteGlobals(settings, tell);
  const comments = new Map<TreeNode, readonly string[]>();
  const nodes: TreeNode[] = [];
  const taken = new Map<string, Line>();
  const services: Service[] = [];
  let reals = 0;
  for (const section of sections) {
    const own = readSettings(section.lines, 'service', tell, problems);
    const service = readService(section, own, reading);
    if (!service) continue;
    const name = nameOf(service);
    const before = taken.get(name);
    if (before) {
      const message = `"${section.head.name.text}": wanted each virtual service once, found it in line ${lineNumber(before)}`;
      problems.push(problemAt(section.head.span, 'HG_CONFIG_RULE', message, 'put both into one'));
      continue;
    }
    taken.set(name, section.head);
    reals += service.reals.length;
    if (reals > mostReals) {
      problems.push(
        problemAt(
          service.head.span,
          'HG_CONFIG_SIZE',
          `file: wanted at most ${mostReals} real servers, found more`,
        ),
      );
      break;
    }
    const { node, realNodes } = serviceTree(service, file, tell);
    noteSection(section, service, settings, tell);
    nodes.push(node);
    services.push(service);
    comments.set(node, commentsOf(service));
    for (const [{ line }, realNode] of realNodes) comments.set(realNode, line.comments);
  }
  const include = includeNode(settings, source.name, files, tell);
  const isAlone = !isPart && include === undefined;
  const alerts = alertsNode(services, settings, { file: source.name, isAlone }, tell);
  const root = mapAt(whole, { include, virtualServices: listAt(whole, nodes), alerts });
  if (header.length > 0) comments.set(root, header);
  return { root, comments, notes: book.notes(), problems };
}

/** Real servers of one file: far above any that is meant. */
const mostReals = 65_536;

/** Comments above the `virtual` line and above lines of the section that become keys, and what it is called. */
function commentsOf({ head, settings }: Service): readonly string[] {
  const said = (['servicename', 'comment'] as const).flatMap((name) => {
    const found = settings.given.get(name)?.text ?? '';
    return found === '' ? [] : [` ${found}`];
  });
  const within = [...settings.given.values()].flatMap(({ line }) => line.comments);
  return [...head.comments, ...said, ...within];
}

/** The fallback of all services: it is looked up once for each protocol, as its port may be a name. */
function fallbacksOf(
  { given }: WholeFile['settings'],
  reading: Reading,
): (service: Service) => Fallback | undefined {
  const of = (name: 'fallback' | 'fallback6') => {
    const found = given.get(name);
    const family = name === 'fallback6' ? 6 : 4;
    const tcp = found && fallbackOf(found, family, 'tcp', reading);
    // A port without a name for UDP is told of once.
    const udp = tcp && fallbackOf(found, family, 'udp', reading);
    return { tcp, udp, fwm: tcp };
  };
  const [four, six] = [of('fallback'), of('fallback6')];
  return ({ family, protocol }) => (family === 6 ? six : four)[protocol];
}
