/**
 * Words of other programs (keepalived, ldirectord, ipvsadm, Piranha, HAProxy, nginx) and the word a native file has for
 * them. Compared by `bare`. Files of those programs are read by adapters, not by this.
 */
const keyWords: Readonly<Record<string, string>> = {
  accessmode: 'method',
  advertint: 'advertisementInterval',
  authpass: 'secret',
  authtype: 'type',
  backend: 'realServers',
  backends: 'realServers',
  balance: 'scheduler',
  checker: 'check',
  checkinterval: 'interval',
  checktimeout: 'timeout',
  checktype: 'type',
  connecttimeout: 'timeout',
  delayloop: 'interval',
  dsr: 'method',
  failurecount: 'fall',
  fallback: 'sorryServer',
  firewallmark: 'fwmark',
  forward: 'method',
  forwarding: 'method',
  forwardingmethod: 'method',
  health: 'check',
  healthcheck: 'check',
  ip: 'address',
  lb_algo: 'scheduler',
  lb_kind: 'method',
  listen: 'address',
  lthreshold: 'lowerThreshold',
  lvsmethod: 'method',
  lvssched: 'scheduler',
  nodes: 'realServers',
  ops: 'onePacket',
  persistencegranularity: 'netmask',
  persistencetimeout: 'persistence',
  persistent: 'persistence',
  pool: 'realServers',
  real: 'realServers',
  realserver: 'realServers',
  retry: 'fall',
  sched: 'scheduler',
  server: 'realServers',
  servers: 'realServers',
  service: 'virtualServices',
  services: 'virtualServices',
  sessionaffinity: 'persistence',
  sticky: 'persistence',
  unicastpeer: 'peers',
  upstream: 'realServers',
  upstreams: 'realServers',
  uthreshold: 'upperThreshold',
  vip: 'address',
  vips: 'addresses',
  virtual: 'virtualServices',
  virtualipaddress: 'addresses',
  virtualipaddressexcluded: 'excludedAddresses',
  virtualrouterid: 'routerId',
  virtualserver: 'virtualServices',
  virtualservers: 'virtualServices',
  vrid: 'routerId',
  vrrpinstance: 'vrrp',
  vserver: 'virtualServices',
  vservers: 'virtualServices',
};

const valueWords: Readonly<Record<string, string>> = {
  connect: 'tcp',
  dr: 'direct-routing',
  droute: 'direct-routing',
  dsr: 'direct-routing',
  external: 'script',
  fnat: 'full-nat',
  fullnat: 'full-nat',
  gate: 'direct-routing',
  gatewaying: 'direct-routing',
  httpget: 'http',
  ipip: 'tunnel',
  leastconn: 'lc',
  masq: 'masquerade',
  maglev: 'mh',
  nat: 'masquerade',
  negotiate: 'http',
  pgsql: 'postgresql',
  roundrobin: 'rr',
  sslget: 'https',
  tun: 'tunnel',
  tunneling: 'tunnel',
};

const keysByBareWord = bareTable(keyWords);
const valuesByBareWord = bareTable(valueWords);

function bareTable(table: Readonly<Record<string, string>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(table).map(([word, ours]) => [bare(word), ours]));
}

/** A word without what people write differently: lower case, no `-`, no `_`. */
export function bare(word: string): string {
  return word.toLowerCase().replaceAll(/[-_]/g, '');
}

/** The native key for another program's word. */
export function keyForOldWord(word: string): string | undefined {
  return keysByBareWord.get(bare(word));
}

/** The native value for another program's word, where it is one of those known here. */
export function valueForOldWord(word: string, known: readonly string[]): string | undefined {
  const ours = valuesByBareWord.get(bare(word));
  return ours !== undefined && known.includes(ours) ? ours : undefined;
}
