import { loadConfiguration } from '../config/load.ts';
import { HeadgateError } from '../model/errors.ts';
import { countMistakes } from '../model/problem.ts';
import { type FileText, keepingFiles } from './file-texts.ts';
import { type Wanted, wantedOf } from './wanted.ts';

/** A configuration that was read from a file. */
export type FromFile = {
  readonly wanted: Wanted;
  readonly dataPlane: 'auto' | 'ebpf' | 'ipvs' | 'proxy';
  readonly connections?: number;
  /** Every file that was read. */
  readonly files: readonly string[];
  /** What they said. */
  readonly texts: readonly FileText[];
};

/** Reads a configuration. Throws HG_CONFIG with every mistake. */
export function loadWanted(file: string): FromFile {
  const kept = keepingFiles();
  const { configuration, problems, files } = loadConfiguration(file, { files: kept.files });
  if (!configuration)
    throw new HeadgateError('HG_CONFIG', `Cannot use "${file}": ${countMistakes(problems)}`, { problems });
  const { dataPlane, connectionTable } = configuration;
  return {
    wanted: wantedOf(configuration),
    dataPlane,
    files,
    texts: kept.textsOf(files),
    ...(connectionTable !== undefined && { connections: connectionTable }),
  };
}
