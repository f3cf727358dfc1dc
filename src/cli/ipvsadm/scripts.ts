import { exitStatus } from '../../config/ipvsadm/failure.ts';
import { parseRules, readRules } from './restore.ts';
import { execute, type Io, type Open, withSession } from './run.ts';

/** `ipvsadm-save [-n]`: prints the rules; any other option gets the help on standard error and status 1. */
export function runSave(argv: readonly string[], io: Io, open: Open): Promise<number> {
  const [program = 'ipvsadm-save', ...words] = argv;
  return withSession(program, io, open, async (session) => {
    if (words.some((word) => word.startsWith('-') && word !== '-n')) {
      io.stderr.write(
        `${program}: Script to save the IPVS table to stdout.\n   With the -n option, prints out the table in numeric format.\n`,
      );
      return exitStatus.listingFailed;
    }
    return execute(session, [{ kind: 'save', numeric: words.includes('-n') }]);
  });
}

/** `ipvsadm-restore`: replaces the whole table by the rules on standard input, or changes nothing if they are wrong. */
export function runRestore(argv: readonly string[], io: Io, open: Open): Promise<number> {
  const [program = 'ipvsadm-restore'] = argv;
  return withSession(program, io, open, async (session) => {
    const rules = await parseRules('ipvsadm', await readRules(io.stdin), session.names);
    return execute(session, [{ kind: 'change', operation: { kind: 'flush' } }, ...rules]);
  });
}
