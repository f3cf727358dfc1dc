import { serviceKey } from '../../model/service-id.ts';
import type { FwmarkServiceId } from '../../model/virtual-service.ts';
import type { Finding, Scene } from './finding.ts';

/** The way of packets to services of firewall marks: a rule sets the mark, the kernel routes by it, the program takes them. */
export function markFindings(scene: Scene): Finding[] {
  const ids = scene.observed.services.flatMap(({ service: { id } }) => (id.kind === 'fwmark' ? [id] : []));
  if (ids.length === 0) return [];
  return [
    ...ruleFindings(scene),
    ...forwarding(scene, ids),
    ...unset(scene, ids),
    ...sourceCheck(scene, ids),
  ];
}

function ruleFindings({ host }: Scene): Finding[] {
  const { missing = [], localFirst = [] } = host.plane?.marks ?? {};
  return [
    ...(missing.length > 0
      ? [
          {
            id: 'mark-rules',
            severity: 'broken',
            what: `the routing rules "${missing.join('", "')}" of the data plane are missing`,
            why: 'marked packets go the way of others, past their service',
            fix: 'headgate ipvsadm -L -n',
          } satisfies Finding,
        ]
      : []),
    ...localFirst.map(
      (family): Finding => ({
        id: 'mark-rules',
        severity: 'risky',
        what: `an IPv${family} rule of somebody else at priority 0 keeps the one for local addresses before those for marks`,
        why: 'marked packets to addresses of this host itself do not get to their service',
        next: `give that rule another priority: ip ${family === 6 ? '-6 ' : ''}rule; then any command of headgate puts them in order`,
      }),
    ),
  ];
}

function forwarding({ host }: Scene, ids: readonly FwmarkServiceId[]): Finding[] {
  const switches = { 4: 'net.ipv4.ip_forward', 6: 'net.ipv6.conf.all.forwarding' } as const;
  return ([4, 6] as const)
    .filter((family) => ids.some((id) => id.family === family) && host.parameters[switches[family]] === '0')
    .map(
      (family): Finding => ({
        id: 'mark-forwarding',
        severity: 'broken',
        what: `${switches[family]} is 0, and there are services of firewall marks`,
        why: 'the kernel routes marked packets to the data plane, and drops them without',
        fix: `sysctl -w ${switches[family]}=1`,
      }),
    );
}

function unset({ host }: Scene, ids: readonly FwmarkServiceId[]): Finding[] {
  const { rules, unread } = host.firewall;
  // What cannot be read may set it.
  if (unread.length > 0 || rules.some(({ mark }) => mark === 'computed')) return [];
  return ids
    .filter((id) => !rules.some(({ mark, only }) => mark === id.mark && (only ?? id.family) === id.family))
    .map(
      (id): Finding => ({
        id: 'mark-unset',
        severity: 'risky',
        what: `no rule of nftables sets the mark of ${serviceKey(id)}`,
        why: 'unless a program of somebody else does, no packet is for this service',
        next: `nft add rule inet TABLE CHAIN ${id.family === 6 ? 'ip6' : 'ip'} daddr ADDRESS tcp dport PORT meta mark set ${id.mark}, in a chain of type filter at hook prerouting`,
      }),
    );
}

function sourceCheck({ host }: Scene, ids: readonly FwmarkServiceId[]): Finding[] {
  if (host.parameters['net.ipv4.conf.all.src_valid_mark'] !== '1' || !ids.some(({ family }) => family === 4))
    return [];
  const strict = host.interfaces.filter(({ rpFilter, role }) => rpFilter === 1 && role === 'covered');
  const [first] = strict;
  if (!first) return [];
  return [
    {
      id: 'mark-source-check',
      severity: 'broken',
      what: `net.ipv4.conf.all.src_valid_mark is 1, and ${strict.map(({ name }) => name).join(', ')} checks sources strictly (rp_filter 1)`,
      why: 'the way back to a client is looked up by its mark, which leads to the data plane: packets are dropped',
      fix: 'sysctl -w net.ipv4.conf.all.src_valid_mark=0',
    },
  ];
}
