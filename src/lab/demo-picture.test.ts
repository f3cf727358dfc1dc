import { describe, expect, it } from 'vitest';
import { parseListing, picture, splitMistakes } from './demo-picture.ts';
import { demoPlan, headgateDirector } from './demo-plan.ts';
import type { TrafficReport } from './traffic-report.ts';

const plan = demoPlan('demo');
const [masquerade, direct] = plan.services as [(typeof plan.services)[0], (typeof plan.services)[0]];
const report = (answered: Record<string, number>, more: Partial<TrafficReport> = {}): TrafficReport => ({
  elapsedMs: 2000,
  opened: 60,
  answered,
  failed: {},
  done: true,
  ...more,
});

// The form of `ipvsadm -L -n`: print_service_entry and print_title of ipvsadm.c.
const listing = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.77.1.100:80 wrr
  -> 10.77.2.11:8080              Masq    0      4          17
  -> 10.77.2.12:8080              Masq    2      0          9
TCP  10.77.1.101:80 rr
  -> 10.77.1.11:80                Route   1      0          0
FWM  1 wlc
  -> 10.77.2.9:0                  Tunnel  7      0          0
`;

describe("the director's table", () => {
  it('is read by service and destination', () => {
    expect(parseListing(listing).get('10.77.1.100:80')).toEqual([
      { address: '10.77.2.11:8080', weight: 0, active: 4 },
      { address: '10.77.2.12:8080', weight: 2, active: 0 },
    ]);
    expect(parseListing('no table\n').size).toBe(0);
  });
});

describe('the picture', () => {
  const flows = [
    {
      before: report({ rs1: 10, rs2: 10 }, { elapsedMs: 1000 }),
      now: report({ rs1: 30, rs2: 20 }, { failed: { timeout: 2 } }),
    },
    {},
  ];
  const lines = picture(plan, flows, parseListing(listing), { plane: 'ebpf', colour: false, columns: 120 });
  const line = (part: string) => lines.find((candidate) => candidate.includes(part)) ?? '';

  it('shows the rate of the last interval, the count and the share', () => {
    expect(line('10.77.2.11:8080')).toMatch(/#{20} +20\.0\/s +30 +60 %/);
    expect(line('10.77.2.12:8080')).toMatch(/ #{10}\.{10} +10\.0\/s +20 +40 %/);
  });

  it('follows what the director says now, in words', () => {
    expect(line('10.77.2.11:8080')).toMatch(/weight 0 .*quiet/);
    expect(line('10.77.2.12:8080')).not.toContain('quiet');
    expect(line('10.77.2.13:8080')).toContain('weight removed');
  });

  it('says which data plane forwards', () => {
    expect(line('hg-demo-director')).toBe(
      'director  hg-demo-director   ebpf data plane, forwards in the kernel',
    );
    const without = picture(plan, flows, undefined, { plane: 'none', colour: false, columns: 120 });
    expect(without).toContain('director  hg-demo-director   no ebpf data plane');
  });

  it('counts and names failures', () => {
    expect(line('client')).toContain('2 FAILED');
    expect(lines.join('\n')).toContain('failed: timeout 2 times');
  });

  it('is never wider than the terminal, and plain without colour', () => {
    const narrow = picture(plan, flows, undefined, { plane: 'ebpf', colour: true, columns: 40 });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is made of them
    const plain = narrow.map((text) => text.replaceAll(/\x1b\[\d+m/g, ''));
    expect(Math.max(...plain.map(({ length }) => length))).toBeLessThanOrEqual(40);
    expect(lines.join('')).not.toContain('\x1b');
  });

  it('says nothing by colour alone', () => {
    const painted = picture(plan, flows, parseListing(listing), {
      plane: 'ebpf',
      colour: true,
      columns: 120,
    });
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour is made of them
    expect(painted.map((text) => text.replaceAll(/\x1b\[\d+m/g, ''))).toEqual(lines);
    expect(painted.join('')).toContain('\x1b');
  });
});

describe('the judgement of a run', () => {
  it('takes the split of the weights for wrr and an even one for rr, one connection off', () => {
    expect(splitMistakes(masquerade, report({ rs1: 30, rs2: 21, rs3: 9 }))).toEqual([]);
    expect(splitMistakes(direct, report({ rs1: 20, rs2: 20, rs3: 20 }))).toEqual([]);
  });

  it('names a server that served too much, too little or nothing', () => {
    expect(splitMistakes(masquerade, report({ rs1: 20, rs2: 20, rs3: 20 }))).toEqual([
      '10.77.1.100:80: rs1 served 20, wrr gives it 30',
      '10.77.1.100:80: rs3 served 20, wrr gives it 10',
    ]);
    expect(splitMistakes(direct, report({ rs1: 30, rs2: 30 }))).toContain(
      '10.77.1.101:80: rs3 served nothing',
    );
  });

  it('names what failed, and a run in which nothing was answered', () => {
    expect(splitMistakes(direct, report({}, { failed: { ECONNREFUSED: 60 } }))).toEqual([
      '10.77.1.101:80: 60 of 60 connections failed (ECONNREFUSED)',
      '10.77.1.101:80: rs1 served nothing',
      '10.77.1.101:80: rs2 served nothing',
      '10.77.1.101:80: rs3 served nothing',
    ]);
  });
});

describe("the director's command lines", () => {
  const director = headgateDirector(['node', '/opt/headgate.js']);

  it('are those a person would type', () => {
    const typed = director.configure(plan).map((command) => command.join(' '));
    expect(typed[0]).toBe('node /opt/headgate.js ipvsadm -A -t 10.77.1.100:80 -s wrr');
    expect(typed[1]).toBe('node /opt/headgate.js ipvsadm -a -t 10.77.1.100:80 -r 10.77.2.11:8080 -m -w 3');
    expect(typed.at(-1)).toBe('node /opt/headgate.js ipvsadm -a -t 10.77.1.101:80 -r 10.77.1.13:80 -g -w 1');
    expect(typed).toHaveLength(8);
  });
});
