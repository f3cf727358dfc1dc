import type { Served } from '../api/server.ts';
import { readApplied } from '../control/applied.ts';
import type { OwnController } from '../control/controller.ts';
import { changeAtRuntime } from '../control/runtime.ts';
import { operationKey } from '../model/apply-operation.ts';
import type { RunningSync } from '../model/connection-sync.ts';
import type { Health } from '../model/health.ts';
import type { PeerStatus } from '../model/peer.ts';
import { checkNow } from './check-now.ts';
import type { Checks } from './checks.ts';
import type { Edition } from './edition.ts';
import type { Failover } from './failover.ts';
import { serveHandOver } from './hand-over.ts';
import { describeOn, explainOn, type Inspected, reportOn, summaryOn } from './inspect.ts';
import type { Keeper } from './keeper.ts';
import type { Log } from './log.ts';
import { serveOverrides } from './overrides.ts';
import { batchInTurn, type Turns } from './turns.ts';

/** What the API is answered from. */
export type ServedOptions = {
  readonly path: string;
  readonly version: string;
  /** Which build of that version, where it knows. */
  readonly build: string | undefined;
  readonly startedAt: string;
  readonly controller: OwnController;
  readonly edition: Edition;
  readonly keeper: Keeper;
  readonly checks: Checks;
  /** What checks and agents say. */
  readonly health: () => Health;
  readonly turns: Turns;
  readonly log: Log;
  readonly now: () => Date;
  /** The VRRP instances of this director. */
  readonly failover: Pick<Failover, 'status' | 'wanted' | 'handOver' | 'takeBack'>;
  /** How the processes that tell and hear of connections fare. */
  readonly sync: () => readonly RunningSync[];
  /** The other directors, and how long none has been heard. */
  readonly peers: () => readonly PeerStatus[];
  readonly aloneMs: () => number | undefined;
  /** Moves what is forwarded to the other data plane. */
  readonly migrate: Served['migrate'];
  /** Told that much is about to be made of the table. */
  readonly busy: () => void;
};

/** Everything the control API serves. What reads or changes the table does it in its turn. */
export function servedBy({
  path,
  version,
  build,
  startedAt,
  controller,
  edition,
  keeper,
  checks,
  health,
  turns: { inTurn },
  log,
  now,
  failover,
  sync,
  peers,
  aloneMs,
  migrate,
  busy,
}: ServedOptions): Served {
  const { memory } = keeper;
  const vrrp = failover.status;
  /** In its turn, and only if the rules are those that an If-Match header names. */
  const ifMatch = <T>(expected: string | undefined, work: () => Promise<T>) =>
    inTurn(async () => {
      edition.require(expected);
      const value = await work();
      return { tag: edition.tag(), value };
    });
  const inspected = (): Inspected => {
    busy();
    return {
      ...{ controller, file: path, version, startedAt, vrrp: vrrp(), sync: sync() },
      ...{ peers: peers(), aloneMs: aloneMs() },
      ...keeper.standing(),
    };
  };

  return {
    ...memory.served,
    ...serveOverrides({
      ...{ controller, inTurn, log, now, note: memory.note },
      names: () => keeper.standing().wanted,
      changed: () => checks.follow(keeper.standing().wanted),
    }),
    read: () => ifMatch(undefined, () => controller.read()),
    apply: (operations, by, expected) =>
      ifMatch(expected, async () => {
        const refusals = await changeAtRuntime(controller, operations);
        memory.noteOperations(operations, refusals, by);
        checks.changed(operations.flatMap((one) => operationKey(one) ?? []));
        const done = refusals.filter((refusal) => refusal === undefined).length;
        log('info', 'changed at runtime', { operations: done, refused: refusals.length - done });
        return refusals;
      }),
    failover: (request) => serveHandOver(request, { failover, controller, inTurn, keeper, log }),
    checks: async () => health(),
    // It does not touch the table, so it waits for nobody.
    check: (name) => checkNow(keeper.standing().wanted, name, checks.outcomes),
    connections: (filter) => batchInTurn(controller.connections(filter), inTurn),
    totals: () => inTurn(async () => controller.totals?.()),
    outlook: (id, addresses) => inTurn(async () => controller.outlook?.(id, addresses)),
    migrate,
    diagnosis: () => inTurn(async () => (await import('../control/doctor.ts')).diagnose(controller)),
    report: () => inTurn(() => reportOn(inspected())),
    summary: () => inTurn(() => summaryOn(inspected())),
    describe: (name) => inTurn(() => describeOn(inspected(), name)),
    explain: (question) => inTurn(() => explainOn(inspected(), question)),
    async status() {
      const { generation, failure } = keeper.standing();
      const rolledBackTo = memory.rolledBackTo();
      const value = {
        ...{
          pid: process.pid,
          version,
          ...(build !== undefined && { build }),
          startedAt,
          dataPlane: controller.capabilities,
        },
        ...(controller.directory !== undefined && { directory: controller.directory }),
        configuration: {
          ...{ file: path, generation },
          appliedAt: readApplied(controller.directory)?.at ?? startedAt,
          ...(failure !== undefined && { failure }),
          ...(rolledBackTo !== undefined && { rolledBackTo }),
        },
      };
      return { tag: edition.tag(), value };
    },
    metrics: () =>
      inTurn(async () => {
        const { wanted, generation, at, failure } = keeper.standing();
        return (await import('./metrics.ts')).measure(
          controller,
          wanted.names,
          checks.watched(),
          health().agents ?? [],
          {
            ...{ version, dataPlane: controller.capabilities.name, startedAt: Date.parse(startedAt) / 1000 },
            vrrp: vrrp(),
            sync: sync(),
            peers: peers(),
            configuration: {
              generation,
              succeededAt: Date.parse(at) / 1000,
              failed: failure !== undefined,
            },
          },
        );
      }),
    reload: (order, expected) => ifMatch(expected, () => keeper.reloadNow(order)),
  };
}
