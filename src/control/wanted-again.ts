import type { Configuration } from '../config/schema/configuration.ts';
import { configurationIn } from './file-texts.ts';
import { type Generation, namesFrom, settingsIn } from './generations.ts';
import { type Wanted, wantedOf } from './wanted.ts';

/** What a generation asked for, to ask for it again. */
export type Again = {
  readonly wanted: Wanted;
  /** What its files say; undefined where this build cannot read them any more. */
  readonly configuration: Configuration | undefined;
};

/** What a generation asked for, as far as this build can read it. */
export function wantedAgain(generation: Generation): Again {
  const { table, timeouts, own, names, files } = generation;
  const configuration = configurationIn(files);
  const {
    pools,
    reactions,
    settings = settingsIn(generation),
  } = configuration ? wantedOf(configuration) : {};
  const wanted = {
    ...{ table, timeouts, own, names: namesFrom(names) },
    ...(pools && { pools }),
    ...(reactions && { reactions }),
    ...(settings && { settings }),
  };
  return { wanted, configuration };
}
