import { createReadStream, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { CommandFailure, exitStatus } from '../../config/ipvsadm/failure.ts';
import { applyOperation } from '../../model/apply-operation.ts';
import { plan } from '../../model/plan.ts';
import type { Operation, Table } from '../../model/table.ts';
import { checkOperation } from '../../model/validate.ts';
import { refusalText } from './messages.ts';
import { parseRules, readRules } from './restore.ts';
import { execute, type Io, type Open, runIpvsadm, withSession } from './run.ts';
import { rulesOf } from './save.ts';
import { runRestore } from './scripts.ts';

/** The files the init scripts of the distributions use; the first that exists, else the last. */
const rulesFiles = ['/etc/sysconfig/ipvsadm', '/etc/ipvsadm.rules'] as const;

const actions = ['start', 'stop', 'restart', 'reload', 'save', 'status'] as const;

/** LSB's status for a service that has no configuration. */
const notConfigured = 6;

/**
 * The actions of ipvsadm's init script: `start` and `restart` replace the table by the saved rules, `reload` changes
 * only what differs from them, `stop` empties the table, `save` writes the rules file, with thresholds and timeouts, `status` lists.
 * IPVSADM_RULES names another rules file.
 */
export async function runService(argv: readonly string[], io: Io, open: Open): Promise<number> {
  const [program = 'ipvsadm', action = ''] = argv;
  const file = io.env.IPVSADM_RULES ?? rulesFiles.find((path) => existsSync(path)) ?? rulesFiles[1];
  switch (action) {
    case 'start':
    case 'restart':
      return start(program, file, io, open);
    case 'reload':
      return reload(program, file, io, open);
    case 'stop':
      return runIpvsadm([program, '-C'], io, open);
    case 'status':
      return runIpvsadm([program, '-L', '-n'], io, open);
    case 'save':
      return save(program, file, io, open);
    default:
      io.stderr.write(`Cannot do "service ${action}": choose one of ${actions.join(', ')}.\n`);
      return exitStatus.badArguments;
  }
}

async function start(program: string, file: string, io: Io, open: Open): Promise<number> {
  if (!existsSync(file)) return missing(program, file, io);
  const { stdout, stderr, env, names } = io;
  const rules: Io = { stdin: createReadStream(file), stdout, stderr, env, ...(names ? { names } : {}) };
  const status = await runRestore(['ipvsadm-restore'], rules, open);
  if (status !== exitStatus.done)
    io.stderr.write(`Loading "${file}" ended with status ${status}: see the messages above.\n`);
  return status;
}

// Connections and counters of what stays as it is survive a reload: the rules are compared with the table.
async function reload(program: string, file: string, io: Io, open: Open): Promise<number> {
  if (!existsSync(file)) return missing(program, file, io);
  return withSession(program, io, open, async (session) => {
    const rules = await parseRules('ipvsadm', await readRules(createReadStream(file)), session.names);
    const wanted = rules.flatMap((rule) => (rule.kind === 'change' ? [rule.operation] : []));
    const { table, complaints } = build(wanted);
    const { services } = await (await session.controller()).read();
    const present = services.map(({ service, destinations }) => ({
      service,
      destinations: destinations.map(({ destination }) => destination),
    }));
    const changes = [
      ...plan(table, { services: present }),
      ...wanted.filter(({ kind }) => kind === 'set-timeouts'),
    ];
    if (complaints.length > 0) io.stderr.write(complaints.map((text) => `${text}\n`).join(''));
    return execute(
      session,
      changes.map((operation) => ({ kind: 'change', operation })),
    );
  });
}

function build(operations: readonly Operation[]): { table: Table; complaints: string[] } {
  let table: Table = { services: [] };
  const complaints: string[] = [];
  for (const operation of operations) {
    const refusal = checkOperation(operation, table);
    if (refusal) complaints.push(refusalText(operation, refusal));
    else table = applyOperation(table, operation);
  }
  return { table, complaints };
}

function missing(program: string, file: string, io: Io): number {
  io.stderr.write(
    `Cannot load "${file}": there is no such file; run "${program} service save" to write the present table to it.\n`,
  );
  return notConfigured;
}

function save(program: string, file: string, io: Io, open: Open): Promise<number> {
  return withSession(program, io, open, async (session) => {
    const text = await rulesOf(await (await session.controller()).read(), session.names);
    try {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(`${file}.new`, text, { mode: 0o600, flush: true });
      renameSync(`${file}.new`, file);
    } catch (error) {
      throw new CommandFailure(1, `Cannot save to "${file}": ${(error as Error).message}.`);
    }
    return execute(session, []);
  });
}
