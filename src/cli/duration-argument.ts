import { parseDurationMs } from '../config/quantities.ts';
import { HeadgateError } from '../model/errors.ts';

/** The duration an option was given, milliseconds, in the form a configuration takes. Throws HG_USAGE. */
export function durationArgument(option: string, text: string): number {
  const durationMs = parseDurationMs(text);
  if (durationMs !== undefined) return durationMs;
  throw new HeadgateError(
    'HG_USAGE',
    `Cannot use ${option} "${text}": wanted a duration such as 90s, 5m or 1h30m`,
    { hint: /^\d+$/.test(text) ? `write the unit: ${option} ${text}s` : `for instance ${option} 5m` },
  );
}
