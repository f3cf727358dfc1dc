import { existsSync } from 'node:fs';
import { bpfAccess } from '../sys/bpf/probe.ts';
import { removeAbandoned, seenBpffs } from './decapsulation.ts';
import { removeLeftRecords } from './store.ts';

/** Removes what agents left in network namespaces that are gone, as far as this kernel and user can know of them. */
export function removeLeftOfAgents(): void {
  removeLeftRecords();
  const bpffs = seenBpffs();
  if (bpfAccess().state === 'allowed' && existsSync(bpffs)) removeAbandoned(bpffs);
}
