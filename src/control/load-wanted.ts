import { loadConfiguration } from '../config/load.ts';
import { HeadgateError } from '../model/errors.ts';
import { countMistakes } from '../model/problem.ts';
import { type Wanted, wantedOf } from './wanted.ts';

/** A configuration that was read from a file. */
export type FromFile = {
  readonly wanted: Wanted;
  readonly dataPlane: 'auto' | 'ebpf' | 'ipvs' | 'proxy';
  readonly connections?: number;
  /** Every file that was read. */
  readonly files: readonly string[];
};

/** Reads a configuration. Throws HG_CONFIG with every mistake. */
export function loadWanted(file: string): FromFile {
  const { configuration, problems, files } = loadConfiguration(file);
  if (!configuration)
    throw new HeadgateError('HG_CONFIG', `Cannot use "${file}": ${countMistakes(problems)}`, { problems });
  const { dataPlane, connectionTable } = configuration;
  return {
    wanted: wantedOf(configuration),
    dataPlane,
    files,
    ...(connectionTable !== undefined && { connections: connectionTable }),
  };
}
