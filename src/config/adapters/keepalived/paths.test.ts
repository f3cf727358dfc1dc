import { expect, test } from 'vitest';
import { read } from '../../../../test/keepalived/reading.ts';

const instance = (routes: string, rules: string) => `vrrp_instance A {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    192.0.2.10
  }
  virtual_routes {
    ${routes}
  }
  virtual_rules {
    ${rules}
  }
}`;

test('routes and rules that move, and those that stay', () => {
  const { values, notes, problems } = read(`
    static_ipaddress {
      198.51.100.1/24 dev eth2
      198.51.100.2
    }
    static_routes {
      203.0.113.0/24 via 198.51.100.254
    }
    static_rules {
      from 10.0.0.0/8 table 100 priority 900
    }
    ${instance(
      `src 192.0.2.10 to 10.9.0.0/16 via 192.0.2.254 dev eth0 metric 5 table 100
       default gw 192.0.2.253
       blackhole 10.8.0.0/16
       to 10.7.0.0/16 via 192.0.2.250 onlink mtu lock 1400 no_track`,
      `from 192.0.2.10 lookup 100 pref 1000
       fwmark 0x10/0xff table main preference 1001 iif eth1`,
    )}`);
  expect(problems).toEqual([]);
  expect(notes).toEqual([]);
  expect(values.failover).toMatchObject({
    vrrp: [
      {
        routes: [
          {
            ...{ to: '10.9.0.0/16', via: '192.0.2.254', interface: 'eth0' },
            ...{ source: '192.0.2.10', table: 100, metric: 5 },
          },
          { to: 'default', via: '192.0.2.253' },
          { to: '10.8.0.0/16', type: 'blackhole' },
          { to: '10.7.0.0/16', via: '192.0.2.250', onLink: true, mtu: 1400 },
        ],
        rules: [
          { from: '192.0.2.10', table: 100, priority: 1000 },
          { mark: 16, markMask: 255, table: 'main', priority: 1001, interface: 'eth1' },
        ],
      },
    ],
    always: {
      addresses: [
        { address: '198.51.100.1/24', interface: 'eth2' },
        { address: '198.51.100.2', interface: 'eth0' },
      ],
      routes: [{ to: '203.0.113.0/24', via: '198.51.100.254' }],
      rules: [{ from: '10.0.0.0/8', table: 100, priority: 900 }],
    },
  });
});

test.each([
  ['nexthop via 192.0.2.1', 'from 10.0.0.1 table 7', 2],
  ['10.0.0.0/8 via 192.0.2.1 realms 3', 'not from 10.0.0.1 table 7 pref 1', 2],
])('what cannot be said is told: %j %j', (routes, rules, least) => {
  const { notes, problems } = read(instance(routes, rules));
  expect(problems).toEqual([]);
  expect(notes.filter((one) => one.includes('ignored')).length).toBeGreaterThanOrEqual(least);
});
