import { loadConfiguration } from '../config/load.ts';
import { type Memory, newMemory } from '../config/memory.ts';
import type { FailoverConfiguration } from '../config/schema/configuration.ts';
import { HeadgateError, type Problem } from '../model/errors.ts';
import { countMistakes } from '../model/problem.ts';
import { type FileText, keepingFiles } from './file-texts.ts';
import { type Wanted, wantedOf } from './wanted.ts';

/** A configuration that was read from a file. */
export type FromFile = {
  readonly wanted: Wanted;
  readonly dataPlane: 'auto' | 'ebpf' | 'ipvs' | 'proxy';
  readonly connections?: number;
  /** Who stands in for this director; absent: it is alone. */
  readonly failover?: FailoverConfiguration;
  /** Every file that was read. */
  readonly files: readonly string[];
  /** What they said. */
  readonly texts: readonly FileText[];
};

/** Reads the same configuration again and again: what is as it was is not judged anew. Throws as `loadWanted`. */
export function wantedReader(file: string): () => FromFile {
  const memory = newMemory();
  return () => loadWanted(file, memory);
}

/** Whether there is no place to correct, as the file itself cannot be read; of one that it includes the code is another. */
const isUnread = (problems: readonly Problem[]): boolean =>
  problems.some(({ code }) => code === 'HG_CONFIG_READ');

const unreadHint =
  'name the file, or write it as docs/configuration.md says; keepalived.conf, ldirectord.cf and rules of ipvsadm are taken as they are';

/** Reads a configuration. Throws HG_CONFIG with every mistake. */
export function loadWanted(file: string, memory?: Memory): FromFile {
  const kept = keepingFiles();
  const { configuration, problems, files } = loadConfiguration(file, {
    files: kept.files,
    ...(memory && { memory }),
  });
  if (!configuration)
    throw new HeadgateError('HG_CONFIG', `Cannot use "${file}": ${countMistakes(problems)}`, {
      problems,
      ...(isUnread(problems) && { hint: unreadHint }),
    });
  const { dataPlane, connectionTable, failover } = configuration;
  return {
    wanted: wantedOf(configuration),
    dataPlane,
    files,
    texts: kept.textsOf(files),
    ...(connectionTable !== undefined && { connections: connectionTable }),
    ...(failover && { failover }),
  };
}
