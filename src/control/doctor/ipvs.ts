import type { Finding, FindingId, Scene } from './finding.ts';

/** Which plane it is and why, where it is not the first that a host could have. */
export function choiceFindings({ dataPlane }: Scene): Finding[] {
  if (dataPlane?.name !== 'ipvs') return [];
  return [
    {
      id: 'plane-ipvs',
      severity: 'note',
      what: `the data plane is ipvs: ${dataPlane.description}`,
      why: 'other programs can change the same table, and it has one rule for what becomes of connections whose real server is gone',
      next: 'docs/data-planes.md has what differs',
    },
  ];
}

/** What is so only where programs of ours take packets ahead of the firewall and the routing. */
const ofPrograms: ReadonlySet<FindingId> = new Set<FindingId>([
  'loopback-settings',
  'loopback-down',
  'firewall-bypassed',
  'firewall-policy',
  'firewall-unread',
  'program-missing',
  'program-before',
  'interface-uncovered',
  'kernel-ipvs',
  'no-tcx',
]);

/** A finding as it is under the kernel's IPVS: it sees what the host's own stack sees, and replies are routed. */
export function underIpvs(finding: Finding): Finding[] {
  if (ofPrograms.has(finding.id)) return [];
  if (finding.id !== 'ip-forward') return [finding];
  return [
    {
      ...finding,
      severity: 'broken',
      why: 'answers of masqueraded real servers go no further than this host',
    },
  ];
}
