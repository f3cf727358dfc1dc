import type { RejectedAdvertisement, VrrpStatus, VrrpTrouble } from '../model/vrrp.ts';
import type { Problem } from './problems.ts';

/** What is wrong between directors, each with the way out. Pure. */
export function vrrpProblems({
  name,
  trouble = [],
}: Pick<VrrpStatus, 'name' | 'trouble'>): readonly Problem[] {
  const hasRival = trouble.some(({ kind }) => kind === 'rival');
  // A director that is master as well claims the addresses, too: that is one problem.
  return trouble.filter(({ kind }) => kind !== 'claim' || !hasRival).map((one) => problemOf(name, one));
}

function problemOf(name: string, trouble: VrrpTrouble): Problem {
  const { interface: device } = trouble;
  if (trouble.kind === 'claim')
    return {
      what: `another host on ${device} has ${trouble.address} as well: ${trouble.mac}`,
      remedy: `take the address from it; if it is the other director, it does not hear this one: tcpdump -ni ${device} ip proto 112, on both`,
    };
  const { source } = trouble;
  if (trouble.kind === 'rival')
    return {
      what: `two masters: ${source} is master of ${name} as well, with priority ${trouble.priority}, and does not hear this director`,
      remedy: `let advertisements through there: tcpdump -ni ${device} ip proto 112, on both; or hand over: headgate failover ${name}`,
    };
  const [what, remedy] = refusals[trouble.why];
  return { what: `advertisements of ${source} on ${device} ${what}`, remedy };
}

const refusals: Readonly<Record<RejectedAdvertisement, readonly [what: string, remedy: string]>> = {
  authentication: [
    'carry another password and do not count: both may become master',
    'give both directors the same authentication.secret',
  ],
  replay: [
    'were sent before: somebody repeats what it heard, and they do not count',
    'look who sends them: they come from another MAC address than the director',
  ],
  'authentication-type': [
    'are authenticated in another way and do not count: both may become master',
    'give both directors the same authentication.type, or neither',
  ],
  version: [
    'are of another version of VRRP and do not count: both may become master',
    'give both the same version; keepalived has 2 where it says nothing: version: 2, or vrrp_version 3 there',
  ],
  interval: [
    'have another interval',
    'give both directors the same advertisementInterval: with version 2 the other one is taken for gone too early or too late',
  ],
  addresses: [
    'name other addresses: another configuration, or another virtual router with this routerId',
    'give both directors the same addresses, or this pair a routerId that nobody else has on that network',
  ],
  peer: [
    'come from nobody that is among the peers, and do not count',
    'add it to peers, or give this pair another routerId',
  ],
  'hop-limit': [
    'came through a router, or were forged, and do not count',
    'put both directors on one network, or tell them of each other by peers',
  ],
  checksum: ['are damaged and do not count', 'look at the network between both: ethtool -S, on both'],
  length: ['are damaged and do not count', 'look at the network between both: ethtool -S, on both'],
  type: ['are none', 'look who sends them: something that is not VRRP uses its protocol number'],
};
