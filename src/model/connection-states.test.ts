import { describe, expect, it } from 'vitest';
import {
  nextSctpState,
  nextTcpState,
  sctpActive,
  sctpChunkEvents,
  sctpEvent,
  sctpEvents,
  sctpStateNames,
  sctpTimeoutsSeconds,
  sctpTransitions,
  tcpActive,
  tcpEvent,
  tcpStateNames,
  tcpTimeoutsSeconds,
  tcpTransitions,
  tcpTransitionsSecure,
  udpTimeoutsSeconds,
} from './connection-states.ts';

/** Tables read out of ip_vs.ko of Debian's 6.12.117 (symbols tcp_states, tcp_states_dos, sctp_states and so on). */
// biome-ignore format: as tables
const kernel = {
  tcp: [
    [3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3], [6, 7, 2, 5, 5, 5, 6, 7, 8, 9, 5],
    [1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1], [6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 3],
    [2, 1, 2, 3, 2, 2, 2, 2, 2, 9, 3], [5, 4, 2, 5, 4, 5, 6, 5, 8, 9, 5],
    [1, 1, 2, 1, 4, 5, 6, 7, 8, 1, 1], [6, 6, 2, 6, 6, 5, 6, 6, 6, 6, 6],
    [3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3], [6, 4, 2, 5, 4, 5, 6, 7, 8, 9, 5],
    [1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1], [6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6],
  ],
  tcpSecure: [
    [3, 1, 1, 3, 3, 3, 3, 3, 3, 3, 10], [6, 7, 2, 5, 5, 5, 6, 7, 8, 9, 10],
    [1, 1, 2, 3, 4, 5, 6, 7, 6, 9, 10], [6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6],
    [2, 1, 2, 10, 2, 2, 2, 2, 2, 9, 10], [5, 4, 2, 5, 4, 5, 6, 5, 8, 9, 5],
    [1, 1, 2, 1, 4, 5, 6, 7, 8, 1, 1], [6, 6, 2, 6, 6, 5, 6, 6, 6, 6, 6],
    [10, 1, 1, 3, 10, 10, 10, 10, 10, 10, 10], [6, 4, 2, 5, 4, 5, 6, 7, 8, 9, 5],
    [1, 1, 2, 1, 4, 5, 6, 7, 6, 9, 1], [6, 6, 6, 3, 6, 6, 6, 6, 8, 9, 6],
  ],
  sctp: [
    [8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 2, 2],
    [5, 5, 5, 3, 4, 6, 6, 7, 8, 9, 10, 11, 12, 13],
    [4, 2, 2, 4, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [8, 1, 2, 3, 4, 5, 6, 8, 8, 9, 10, 11, 12, 13],
    [10, 1, 2, 3, 4, 5, 6, 7, 10, 9, 10, 11, 12, 13],
    [13, 2, 2, 3, 4, 5, 6, 7, 8, 13, 10, 13, 12, 13],
    [13, 13, 13, 3, 4, 5, 6, 7, 8, 9, 10, 13, 12, 13],
    [13, 1, 2, 3, 4, 5, 6, 13, 8, 9, 10, 11, 12, 13],
    [13, 13, 13, 13, 13, 12, 13, 13, 13, 13, 13, 13, 13, 13],
    [8, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [5, 5, 5, 5, 5, 5, 5, 5, 8, 5, 5, 5, 5, 5],
    [3, 3, 3, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [7, 7, 7, 7, 7, 7, 7, 7, 8, 9, 10, 11, 12, 13],
    [8, 8, 8, 8, 8, 8, 8, 8, 8, 9, 10, 11, 12, 13],
    [9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 10, 11, 12, 13],
    [11, 11, 11, 11, 11, 5, 6, 7, 8, 11, 11, 11, 12, 13],
    [13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [13, 13, 13, 13, 13, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [13, 12, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13, 13],
    [8, 1, 2, 3, 4, 8, 6, 7, 8, 9, 10, 11, 12, 13],
    [1, 2, 2, 2, 2, 2, 6, 7, 8, 9, 10, 11, 2, 2],
    [7, 7, 7, 7, 7, 7, 6, 7, 8, 9, 10, 11, 12, 13],
    [8, 8, 8, 8, 8, 8, 6, 7, 8, 9, 10, 11, 12, 13],
    [8, 1, 2, 8, 8, 5, 8, 8, 8, 9, 10, 11, 12, 13],
    [10, 1, 2, 3, 4, 5, 6, 7, 10, 9, 10, 11, 12, 13],
    [13, 2, 2, 3, 4, 5, 6, 7, 13, 13, 10, 13, 12, 13],
    [13, 13, 13, 13, 13, 5, 6, 7, 8, 9, 13, 13, 12, 13],
    [13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13],
    [13, 13, 13, 13, 13, 12, 13, 13, 13, 13, 13, 13, 13, 13],
  ],
};

describe('TCP', () => {
  it('has the tables of the kernel', () => {
    expect(tcpTransitions).toEqual(kernel.tcp);
    expect(tcpTransitionsSecure).toEqual(kernel.tcpSecure);
  });

  it('has the timeouts and active states of the kernel', () => {
    expect(tcpTimeoutsSeconds).toEqual([2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120]);
    expect(tcpActive.map(Number)).toEqual([0, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1]);
  });

  it('selects RST before SYN before FIN before ACK', () => {
    expect([0x1f, 0x13, 0x11, 0x10, 0x08, 0x00].map(tcpEvent)).toEqual([
      'rst',
      'syn',
      'fin',
      'ack',
      undefined,
      undefined,
    ]);
  });

  it('follows a connection through masquerading and through direct routing', () => {
    const walk = (steps: [direction: 'input' | 'output' | 'input-only', flags: number][]) => {
      let state = 0;
      return steps.map(([direction, flags]) => {
        state = nextTcpState(state, direction, flags);
        return tcpStateNames[state];
      });
    };
    const [fin, syn, ack] = [0x11, 0x02, 0x10];
    expect(
      walk([
        ['input', syn],
        ['output', syn | ack],
        ['input', ack],
        ['input', fin],
        ['output', fin],
        ['input', ack],
      ]),
    ).toEqual(['SYN_RECV', 'SYN_RECV', 'ESTABLISHED', 'CLOSE_WAIT', 'TIME_WAIT', 'TIME_WAIT']);
    expect(
      walk([
        ['input-only', syn],
        ['input-only', ack],
        ['input-only', fin],
        ['input-only', ack],
      ]),
    ).toEqual(['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'FIN_WAIT']);
  });

  it('closes on a segment without flags', () => {
    expect(tcpStateNames[nextTcpState(1, 'input', 0)]).toBe('CLOSE');
  });
});

describe('UDP and SCTP', () => {
  it('has the tables of the kernel', () => {
    expect(udpTimeoutsSeconds).toEqual([300]);
    expect(sctpTransitions).toEqual(kernel.sctp);
    expect(sctpTimeoutsSeconds).toEqual([2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61]);
    expect(sctpChunkEvents.map((event) => sctpEvents.indexOf(event))).toEqual([
      0, 1, 2, 0, 0, 0, 9, 5, 6, 8, 3, 4, 0, 0, 7,
    ]);
    expect(sctpStateNames.filter((_, state) => sctpActive[state])).toEqual(['ESTABLISHED']);
  });

  it('aborts on an ABORT behind a cookie only', () => {
    expect(sctpEvent(10, 6)).toBe('abort');
    expect(sctpEvent(11, 6)).toBe('abort');
    expect(sctpEvent(0, 6)).toBe('data');
    expect(sctpEvent(200)).toBe('data');
  });

  it('establishes an association through masquerading', () => {
    let state = 0;
    const names = (
      [
        ['input', 'init'],
        ['output', 'init-ack'],
        ['input', 'cookie-echo'],
        ['output', 'cookie-ack'],
      ] as const
    ).map(([direction, event]) => {
      state = nextSctpState(state, direction, event);
      return sctpStateNames[state];
    });
    expect(names).toEqual(['INIT1', 'C-SENT', 'C-REPLIED', 'ESTABLISHED']);
  });
});
