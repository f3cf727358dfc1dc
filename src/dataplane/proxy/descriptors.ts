import { readFileSync } from 'node:fs';

/** What a connection takes: the client's socket and the one to the real server. */
const descriptorsPerConnection = 2;
/** Kept for listeners, for the process itself, and for connections that are refused: they are accepted first. */
const reserved = 64;
const leastConnections = 16;

/**
 * How many connections of `wanted` this process has file descriptors for, so that a full table refuses in good order
 * before the system does. `limits` is the text of /proc/PID/limits; without it (only Linux has it) that is all of them.
 */
export function affordableConnections(wanted: number, limits: string | undefined): number {
  // Fields of /proc/PID/limits: name, soft limit, hard limit, unit (proc(5)).
  const limit = Number(/^Max open files +(\d+) /m.exec(limits ?? '')?.[1] ?? Number.POSITIVE_INFINITY);
  const affordable = Math.floor((limit - reserved) / descriptorsPerConnection);
  return Math.min(wanted, Math.max(leastConnections, affordable));
}

/** The limits of this process as proc(5) shows them; undefined where the system does not. */
export function ownLimits(): string | undefined {
  try {
    return readFileSync('/proc/self/limits', 'utf8');
  } catch {
    return undefined;
  }
}
