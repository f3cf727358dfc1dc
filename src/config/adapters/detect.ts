import type { Adapter } from './adapter.ts';
import { ipvsadmAdapter } from './ipvsadm.ts';
import { keepalivedAdapter } from './keepalived/keepalived.ts';
import { ldirectordAdapter } from './ldirectord.ts';

/** Every format of another program that is read; those that may hold lines of another one come first. */
export const adapters: readonly Adapter[] = [keepalivedAdapter, ipvsadmAdapter, ldirectordAdapter];

/** The adapter of this name. */
export function adapterNamed(name: string): Adapter | undefined {
  return adapters.find((adapter) => adapter.name === name);
}

/** The adapter for a text, which is asked for where the name does not say; undefined: it may be headgate.yaml. */
export function adapterFor(textOf: () => string, fileName: string): Adapter | undefined {
  if (/\.(?:ya?ml|json)$/i.test(fileName)) return undefined;
  const text = textOf();
  return adapters.find((adapter) => adapter.detects(text, fileName));
}
