import type { DaemonStatus } from '../api/client.ts';
import { HeadgateError } from '../model/errors.ts';
import { productBuild, productVersion } from './context.ts';

/** Which program this is. */
type Build = Pick<DaemonStatus, 'version' | 'build'>;

/** The daemon that this command has talked to. */
let reached: DaemonStatus | undefined;

/** Notes with whom this command talks. */
export function noteDaemon(daemon: DaemonStatus): void {
  reached = daemon;
}

/**
 * What an error is about. A command takes what a daemon of another build answers as far as it understands it; where it cannot go
 * on with an answer, or the daemon does not know what it is asked for, that is said in place of a defect there is not.
 */
export function inLightOfBuilds(
  error: unknown,
  daemon: DaemonStatus | undefined = reached,
  own: () => Build = () => ({ version: productVersion(), build: productBuild() }),
): unknown {
  if (!daemon || (error instanceof HeadgateError && error.code !== 'HG_REQUEST')) return error;
  const { version, build } = own();
  if (daemon.version === version && (build === undefined || daemon.build === build)) return error;
  const { pid, startedAt } = daemon;
  const here = version === daemon.version ? 'is of another build' : `is version ${version}`;
  return new HeadgateError(
    'HG_OTHER_BUILD',
    `Cannot go on with what the daemon (process ${pid}) answers: it runs version ${daemon.version} since ${startedAt}, and this command ${here}`,
    { cause: error },
  );
}
