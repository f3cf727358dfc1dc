import { readFileSync } from 'node:fs';
import { isSystemError } from '../sys/ffi.ts';
import { listFirewallChains, listFirewallRules } from '../sys/netlink/firewall.ts';
import { netlinkProtocols, withNetlink } from '../sys/netlink/socket.ts';
import type { HostSurvey } from './host-survey.ts';

/** The rules of the packet filter in this network namespace. */
export function readFirewall(): HostSurvey['firewall'] {
  const unread = ['/proc/net/ip_tables_names', '/proc/net/ip6_tables_names'].flatMap((path) =>
    (readIfThere(path) ?? '').split('\n').filter((name) => name !== ''),
  );
  try {
    return withNetlink({ protocol: netlinkProtocols.netfilter }, (netlink) => ({
      chains: listFirewallChains(netlink),
      rules: listFirewallRules(netlink),
      unread: [...new Set(unread)],
    }));
  } catch (error) {
    // A kernel without nf_tables has no rules either.
    if (isSystemError(error, 'EOPNOTSUPP', 'EINVAL', 'EPROTONOSUPPORT', 'ENOENT'))
      return { chains: [], rules: [], unread: [...new Set(unread)] };
    throw error;
  }
}

/** The text of a file; undefined when it is not there. */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) return undefined;
    throw error;
  }
}
