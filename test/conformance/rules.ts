import { destinationRules } from './rules-of-destinations.ts';
import { fullNatRules } from './rules-of-full-nat.ts';
import { persistenceRules } from './rules-of-persistence.ts';
import { tableRules } from './rules-of-tables.ts';
import { thresholdRules } from './rules-of-thresholds.ts';

/*
 * What every data plane does, whatever carries its packets. Sources: net/netfilter/ipvs of Linux 6.12 (ip_vs_ctl.c,
 * ip_vs_conn.c, ip_vs_core.c) and ipvsadm(8).
 */
export const rules = {
  ...tableRules,
  ...destinationRules,
  ...fullNatRules,
  ...persistenceRules,
  ...thresholdRules,
} as const;

export type RuleName = keyof typeof rules;
