import {
  tcpActive,
  tcpStateNames,
  tcpTimeoutsSeconds,
  udpStateNames,
  udpTimeoutsSeconds,
} from '../../model/connection-states.ts';
import type { Connection } from '../../model/table.ts';
import type { DestinationId, Timeouts } from '../../model/virtual-service.ts';
import { connectMember, type Member, type Pool, releaseMember, type Template } from './pool.ts';

/** A template that still has connections when its time is up has this lifetime from then on (ip_vs_conn_expire). */
const templateGraceMs = 60_000;

/** One connection (TCP) or one client's datagrams (UDP). */
export type Flow = {
  readonly protocol: 'tcp' | 'udp';
  readonly client: DestinationId;
  /** What the client called. */
  readonly virtual: DestinationId;
  readonly member: Member;
  readonly template: Template | undefined;
  /** Index into the protocol's state names. */
  state: number;
  lastSeenMs: number;
  /** Ends it from this side, and the table forgets it: what is cut off is reset, what was told its end is let go. */
  readonly abort: () => void;
};

/** All that lives, in a table of fixed size that does not evict. */
export type ConnectionTable = {
  readonly flows: ReadonlySet<Flow>;
  readonly size: number;
  enter(flow: Flow): void;
  /** Notes another state and, with it, whether the connection is active. */
  move(flow: Flow, state: number): void;
  /** Idempotent. */
  leave(flow: Flow): void;
  /** Counts bytes and keeps the connection from expiring. */
  carried(flow: Flow, direction: 'in' | 'out', bytes: number): void;
  timeouts(): Timeouts;
  /** 0 and what is left out stay as they are, as in the kernel. */
  setTimeouts(timeouts: Partial<Timeouts>): void;
  /** Ends what was idle for the time its state allows. */
  expire(pools: Iterable<Pool>): void;
  /** What a listing shows. */
  rows(pools: Iterable<Pool>): Connection[];
};

/** An empty table for `size` connections; `nowMs` is any steady clock. */
export function createConnectionTable(size: number, nowMs: () => number): ConnectionTable {
  const flows = new Set<Flow>();
  const seconds = { tcp: [...tcpTimeoutsSeconds], udp: [...udpTimeoutsSeconds] };
  const [established, finWait] = [tcpStateNames.indexOf('ESTABLISHED'), tcpStateNames.indexOf('FIN_WAIT')];
  const expiresAtMs = ({ protocol, state, lastSeenMs }: Flow) =>
    lastSeenMs + seconds[protocol][state]! * 1000;

  return {
    flows,
    size,
    enter(flow) {
      flows.add(flow);
      flow.member.pool.traffic.counters.connections++;
      flow.member.traffic.counters.connections++;
      if (flow.template) flow.template.connections++;
      connectMember(flow.member, isActive(flow));
      assure(flow);
    },
    move(flow, state) {
      flow.lastSeenMs = nowMs();
      if (!flows.has(flow)) return;
      const before = isActive(flow);
      flow.state = state;
      assure(flow);
      flow.member.active += Number(isActive(flow)) - Number(before);
    },
    leave(flow) {
      if (!flows.delete(flow)) return;
      if (flow.template) flow.template.connections--;
      releaseMember(flow.member, isActive(flow));
    },
    carried(flow, direction, bytes) {
      flow.lastSeenMs = nowMs();
      if (flow.protocol === 'udp' && direction === 'out' && flow.template) flow.template.assured = true;
      for (const { counters } of [flow.member.pool.traffic, flow.member.traffic]) {
        counters[direction === 'in' ? 'packetsIn' : 'packetsOut']++;
        counters[direction === 'in' ? 'bytesIn' : 'bytesOut'] += bytes;
      }
    },
    timeouts: () => ({
      tcp: seconds.tcp[established]!,
      tcpFin: seconds.tcp[finWait]!,
      udp: seconds.udp[0]!,
    }),
    setTimeouts({ tcp, tcpFin, udp }) {
      if (tcp) seconds.tcp[established] = tcp;
      if (tcpFin) seconds.tcp[finWait] = tcpFin;
      if (udp) seconds.udp[0] = udp;
    },
    expire(pools) {
      const now = nowMs();
      for (const flow of flows) if (expiresAtMs(flow) <= now) flow.abort();
      for (const { templates } of pools) {
        for (const [key, template] of templates) {
          if (template.expiresAtMs > now) continue;
          if (template.connections === 0) templates.delete(key);
          else {
            template.lifetimeMs = templateGraceMs;
            template.expiresAtMs = now + templateGraceMs;
          }
        }
      }
    },
    rows(pools) {
      const now = nowMs();
      const left = (untilMs: number) => Math.max(0, Math.round(untilMs - now));
      const rows = [...flows].map((flow): Connection => {
        const { protocol, client, virtual, member, state } = flow;
        return {
          protocol,
          client,
          virtual,
          destination: { address: member.address, port: member.port },
          state: (protocol === 'tcp' ? tcpStateNames : udpStateNames)[state]!,
          active: isActive(flow),
          template: false,
          expiresInMs: left(expiresAtMs(flow)),
        };
      });
      for (const pool of pools) {
        for (const template of pool.templates.values()) {
          const { client, virtual, destination, assured, expiresAtMs: untilMs } = template;
          rows.push({
            protocol: pool.service.id.kind === 'address' ? pool.service.id.protocol : 'ip',
            client,
            virtual,
            destination,
            state: assured ? 'ASSURED' : 'NONE',
            active: false,
            template: true,
            expiresInMs: left(untilMs),
          });
        }
      }
      return rows;
    },
  };
}

/** ip_vs_control_assure_ct: the template of a connection that was established is good. */
function assure({ protocol, state, template }: Flow): void {
  if (template && protocol === 'tcp' && tcpStateNames[state] === 'ESTABLISHED') template.assured = true;
}

function isActive({ protocol, state }: Flow): boolean {
  return protocol === 'tcp' && tcpActive[state]!;
}
