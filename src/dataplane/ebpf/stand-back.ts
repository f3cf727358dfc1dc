import { type Instance, openInstance } from './instance.ts';
import { numbers } from './layout.generated.ts';

const { HOLD_OFF, HOLD_PASS } = numbers.hold;

/**
 * Whether the program leaves to the kernel's IPVS what no connection of its own claims: while connections move from one to the
 * other both forward, each what it knows.
 */
export const standsBack = ({ settings }: Pick<Instance, 'settings'>): boolean =>
  settings.get(0, 'hold') === HOLD_PASS;

/** Whether the instance in a folder of the bpffs does; undefined where there is none. */
export function whetherStandsBack(directory: string): boolean | undefined {
  const instance = openInstance(directory);
  if (!instance) return undefined;
  try {
    return standsBack(instance);
  } finally {
    instance.close();
  }
}

/** Has the instance in a folder of the bpffs stand back, or schedule again. */
export function standBack(directory: string, back: boolean): void {
  const instance = openInstance(directory);
  instance?.settings.set(0, 'hold', back ? HOLD_PASS : HOLD_OFF);
  instance?.close();
}
