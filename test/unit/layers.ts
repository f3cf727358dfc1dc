import { dirname, join } from 'node:path';
import { type ProjectFile, withoutComments } from './project.ts';

/** What a room under src/ may import, and why it may not import more. */
type RoomRule = {
  readonly rooms: readonly string[];
  /** Single files of other rooms. */
  readonly files?: readonly string[];
  /** npm packages. */
  readonly packages: readonly string[];
  /** Node's own modules; `undefined` allows all. */
  readonly node?: readonly string[];
  readonly because: string;
};

/** The arrows between the rooms. A room that is not listed here may not exist. */
export const roomRules: Record<string, RoomRule> = {
  model: {
    rooms: [],
    packages: [],
    node: [],
    because: 'the vocabulary is pure: it must be usable, and testable, without a kernel, a clock or a file',
  },
  sys: {
    rooms: [],
    packages: ['koffi'],
    because: 'the door to the kernel knows the kernel and nothing about load balancing',
  },
  config: {
    rooms: ['model'],
    packages: ['yaml', 'zod'],
    because: 'configuration turns text into desired state; what is done with it is decided elsewhere',
  },
  dataplane: {
    rooms: ['model', 'sys'],
    // The only form in which the kernel's IPVS takes connections.
    files: ['src/ha/sync/batch.ts'],
    packages: [],
    because: 'a forwarding engine applies what it is told; who tells it, and why, is not its business',
  },
  checks: {
    rooms: ['model', 'sys'],
    // What a check is told has one truth, and durations one form.
    files: ['src/config/schema/check.ts', 'src/config/quantities.ts'],
    packages: [],
    because: 'a check reports a result and decides nothing',
  },
  ha: { rooms: ['model', 'sys'], packages: [], because: 'it must survive the daemon, so it cannot need it' },
  agent: {
    rooms: ['model', 'sys'],
    packages: [],
    because: 'it runs on real servers, where there is no director',
  },
  control: {
    rooms: ['model', 'config', 'dataplane'],
    packages: [],
    because: 'the controller reaches the kernel through a data plane only, so that all planes behave alike',
  },
  api: {
    rooms: ['model', 'config'],
    packages: ['zod'],
    because:
      'a controller is handed in, so that the API can be served from a test as well as from the daemon',
  },
  daemon: {
    rooms: ['model', 'control', 'api', 'ha', 'checks'],
    // What Node does not have: the socket of a service manager, who writes to a file, users by name, named pipes.
    files: ['src/sys/unix-datagram.ts', 'src/sys/lease.ts', 'src/sys/user.ts', 'src/sys/fifo.ts'],
    packages: [],
    because: 'the daemon is the process around the controller; rules about traffic live below it',
  },
  lab: {
    rooms: ['model', 'config', 'sys'],
    packages: [],
    because:
      'it builds the network around a director and is handed the director it observes; its files are read as ours are',
  },
  cli: {
    rooms: ['model', 'config', 'control', 'lab', 'api', 'agent', 'daemon'],
    packages: ['commander', 'yaml'],
    because:
      'commands talk to a controller or are the daemon around one; one that reached below it could bypass the lock',
  },
};

/** What makes a function impure without an import. */
const impureGlobals =
  /\b(Date\.now|new Date\(\)|performance\.|process\.|set(Timeout|Interval)|Math\.random|fetch\()/;

const longestFile = 500;

/** Every breach of the rules in `files` (paths like `src/model/table.ts`), as sentences. */
export function breaches(files: readonly ProjectFile[]): readonly string[] {
  return [...files.flatMap(breachesIn), ...cycles(files)];
}

function breachesIn(file: ProjectFile): string[] {
  const code = withoutComments(file.text);
  const found: string[] = [];
  const lines = file.text.split('\n').length - 1;
  if (lines > longestFile) found.push(`${file.path} has ${lines} lines: wanted at most ${longestFile}`);
  if (/^export default\b/m.test(code) || /\bas default\b/.test(code)) {
    found.push(`${file.path} has a default export: an import must use the name the definition has`);
  }
  if (/(^|\/)index\.ts$/.test(file.path)) {
    found.push(`${file.path} is a barrel: imports name the file that defines what they import`);
  }
  if (/\bimport\(\s*[^'"\s]/.test(code)) {
    found.push(`${file.path} imports a computed name: nobody, this test included, can see what it reaches`);
  }
  return file.path.endsWith('.test.ts') ? found : [...found, ...importBreaches(file.path, code)];
}

function importBreaches(path: string, code: string): string[] {
  const room = roomOf(path);
  const rule = room === undefined ? undefined : roomRules[room];
  if (room === undefined || rule === undefined) {
    return [
      `${path} is in no room of the architecture: give it one in test/unit/layers.ts and ARCHITECTURE.md`,
    ];
  }
  const impure = room === 'model' ? impureGlobals.exec(code)?.[0] : undefined;
  const impurity =
    impure === undefined ? [] : [`${path} uses ${impure}, but ${room}/ may not: ${rule.because}`];
  const forbidden = importsOf(code).flatMap((specifier) => {
    const why = `: ${rule.because}`;
    if (specifier.startsWith('.')) {
      const file = join(dirname(path), specifier);
      const target = roomOf(file);
      if (target === undefined) return [`${path} imports "${specifier}" from outside src/`];
      const allowed = target === room || rule.rooms.includes(target) || rule.files?.includes(file);
      return allowed ? [] : [`${path} imports from ${target}/, but ${room}/ may not${why}`];
    }
    if (specifier.startsWith('node:')) {
      return rule.node === undefined || rule.node.includes(specifier)
        ? []
        : [`${path} imports "${specifier}", but ${room}/ may not${why}`];
    }
    const name = specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');
    return rule.packages.includes(name) ? [] : [`${path} imports "${specifier}", but ${room}/ may not${why}`];
  });
  return [...impurity, ...forbidden];
}

function roomOf(path: string): string | undefined {
  const [top, room, rest] = path.split('/');
  return top === 'src' && rest !== undefined ? room : undefined;
}

/** The specifiers of all imports and re-exports, static and dynamic, types included. */
export function importsOf(code: string): readonly string[] {
  const form = /(?<![-\w$.'"])(?:from|import)\s*\(?\s*(['"])([^'"\n]+)\1/g;
  return [...code.matchAll(form)].map((match) => match[2]!);
}

function cycles(files: readonly ProjectFile[]): string[] {
  const graph = new Map(files.map((file) => [file.path, localImports(file)]));
  const state = new Map<string, 'open' | 'closed'>();
  const found: string[] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (state.get(path) === 'closed') return;
    if (state.get(path) === 'open') {
      found.push(`Imports run in a circle: ${[...trail.slice(trail.indexOf(path)), path].join(' -> ')}`);
      return;
    }
    state.set(path, 'open');
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    state.set(path, 'closed');
  };
  for (const path of graph.keys()) visit(path, []);
  return found;
}

function localImports({ path, text }: ProjectFile): readonly string[] {
  return importsOf(withoutComments(text))
    .filter((specifier) => specifier.startsWith('.'))
    .map((specifier) => join(dirname(path), specifier));
}
