import { readlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';

const machineDirectory = '/var/lib/headgate';

/**
 * Where what people have decided is kept: HEADGATE_STATE; else /var/lib/headgate for the network namespace the machine
 * started with; else beside the plane, which ends with the namespace. Undefined: the plane keeps nothing.
 */
export function stateDirectory(planeDirectory: string | undefined): string | undefined {
  const given = process.env.HEADGATE_STATE;
  if (given) return given;
  if (planeDirectory === undefined) return undefined;
  return isFirstNamespace() ? machineDirectory : namespaceState(planeDirectory);
}

/** Where it is kept for a network namespace that the machine did not start with. */
export const namespaceState = (planeDirectory: string): string => join(dirname(planeDirectory), 'state');

function isFirstNamespace(): boolean {
  try {
    return readlinkSync('/proc/1/ns/net') === readlinkSync('/proc/self/ns/net');
  } catch {
    return false;
  }
}
