import { describe, expect, it } from 'vitest';
import { expectedConnections, planRuns, type Row, rows, writeRuns } from '../../bench/instructions/plan.ts';
import { judge, readOutput, summarize } from '../../bench/instructions/results.ts';

/** What pktgen of Linux 6.12 wrote to its device's file, its two lines joined. */
const result =
  'Result: OK: 274142(c273795+d346) usec, 20000 (60byte,0frags) 72954pps 35Mb/sec (35017920bps) errors: 0 ';
const rowNamed = (name: string): Row => rows.find((row) => row.name === name)!;

describe('the outcome of a run', () => {
  it('is half the nanoseconds a packet: the clock moves on by two at each instruction', () => {
    // 274,142 us / 20,000 packets = 13,707.1 ns a packet.
    expect(judge(`a|20000|${result}`, 20_000)).toEqual({ instructions: 6853.55 });
  });

  it.each([
    ['packets are lost', `a|19999|${result}`, 'sent 20000, delivered 19999'],
    ['packets are doubled', `a|20001|${result}`, 'sent 20000, delivered 20001'],
    ['nothing was counted', `a||${result}`, 'sent 20000, delivered nothing'],
    [
      'the generator was stopped early',
      `a|20000|${result.replace(', 20000 ', ', 19998 ')}`,
      'wanted to send 20000, sent 19998 with 0 errors',
    ],
    [
      'the generator met errors',
      `a|20000|${result.replace('errors: 0', 'errors: 7')}`,
      'wanted to send 20000, sent 20000 with 7 errors',
    ],
    ['the generator refused', 'a|0|Result: No such device', 'the generator said "Result: No such device"'],
    ['there is no line', '', 'the generator said ""'],
  ])('counts for nothing when %s', (_, line, rejected) => {
    expect(judge(line, 20_000)).toEqual({ rejected });
  });
});

describe('a point', () => {
  it('is the median, with the distance of its rounds as a part of it', () => {
    const outcomes = [{ instructions: 1010 }, { instructions: 990 }, { instructions: 1000 }];
    expect(summarize(outcomes)).toEqual({ median: 1000, spread: 0.02 });
  });

  it('is rejected for one bad round, and for none at all', () => {
    const rejected = 'sent 3, delivered 2';
    expect(summarize([{ instructions: 1 }, { rejected }])).toEqual({ rejected });
    expect(summarize([])).toEqual({ rejected: 'the guest printed no result' });
  });
});

describe('the plan', () => {
  const runs = planRuns(rows, 1000, 3);
  const written = writeRuns(runs).split('\n');

  it('sends every row three times through both balancers, and its like through the router and straight on', () => {
    for (const director of ['IPVS', 'headgate'] as const) {
      for (const row of rows) {
        const measured = runs.filter((run) => run.director === director && run.row === row && run.round > 0);
        expect(measured.map(({ round }) => round)).toEqual([1, 2, 3]);
      }
    }
    for (const director of ['straight', 'routed'] as const) {
      const there = runs.filter((run) => run.director === director).map(({ row }) => row.name);
      expect(new Set(there)).toEqual(new Set(['plain, established', 'plain, reply', 'plain, new']));
    }
  });

  it('gives no two runs of new connections the same client', () => {
    const clients = written
      .filter((line) => line.includes('udp_src_max 65535'))
      .map((line) => /src_min (\S+?);/.exec(line)![1]);
    expect(clients.length).toBeGreaterThan(20);
    expect(new Set(clients).size).toBe(clients.length);
  });

  it('opens the connection of a reply by a request, then sends it from the real server', () => {
    const lines = writeRuns(planRuns([rowNamed('NAT, reply')], 1000, 1))
      .split('\n')
      .filter((line) => line.startsWith('headgate'));
    expect(lines.map((line) => line.split('|').slice(0, 4))).toEqual([
      ['headgate: NAT: 0', 'client c3', 'server s3', 'ip dst 10.3.2.2 match ip protocol 17 0xff'],
      ['headgate: NAT, reply: 1', 'server s3', 'client c3', 'ip src 10.3.1.101 match ip protocol 17 0xff'],
    ]);
    expect(lines[1]).toContain('dst_mac 02:00:00:00:03:03;src_min 10.3.2.2');
  });

  it('knows how many connections a balancer must have counted', () => {
    // Warm-up 200 and three rounds of 1,000, each packet a connection, and the one of all other packets.
    expect(expectedConnections(runs, 'IPVS', '1.101')).toBe(200 + 3 * 1000 + 1);
    const replies = planRuns([rowNamed('NAT, reply')], 1000, 3);
    expect(expectedConnections(replies, 'headgate', '1.101')).toBe(1);
    expect(expectedConnections(replies, 'headgate', '1.102')).toBe(0);
  });
});

describe('the output of a guest', () => {
  it('gives the lines of the runs and the connections of each balancer', () => {
    const { lines, connections } = readOutput(
      [
        `IPVS: NAT: 1|20000|${result}`,
        'counted by ipvs',
        'IP Virtual Server version 1.2.1 (size=262144)',
        'Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes',
        '  -> RemoteAddress:Port',
        'UDP  10.2.1.101:80                     201    20000        0   920000        0',
        '  -> 10.2.2.2:80                       201    20000        0   920000        0',
        'counted by headgate',
        'UDP  10.3.1.101:80                       7    20000        0   920000        0',
      ].join('\n'),
    );
    expect([...lines]).toEqual([['IPVS: NAT: 1', `IPVS: NAT: 1|20000|${result}`]]);
    expect(connections.get('ipvs')).toEqual(new Map([['10.2.1.101', 201]]));
    expect(connections.get('headgate')).toEqual(new Map([['10.3.1.101', 7]]));
  });
});
