import { dirname, join, resolve } from 'node:path';
import { serveApi } from '../api/server.ts';
import { unusableApplied } from '../control/applied.ts';
import { exchangeable, type OwnController, over } from '../control/controller.ts';
import { readHealth } from '../control/health-store.ts';
import { type FromFile, wantedReader } from '../control/load-wanted.ts';
import { servingIn } from '../control/serving.ts';
import { openAgents } from './agents.ts';
import { openAlerts, outletLimits } from './alerts/alerts.ts';
import { openChecks } from './checks.ts';
import { openConnectionSync } from './connection-sync.ts';
import { countEditions } from './edition.ts';
import { openFailover } from './failover.ts';
import { lostServices } from './failover-orders.ts';
import { downsAtEnd } from './farewell.ts';
import { type Keeper, openKeeper } from './keeper.ts';
import { coverInterfaces } from './links.ts';
import type { Log } from './log.ts';
import { openMover, tellOfOtherPlane } from './migrate.ts';
import { noticeOthers } from './other-writers.ts';
import { openOtherDirectors } from './peers.ts';
import { servedBy } from './served.ts';
import type { ServiceManager } from './service-manager.ts';
import { keepHeapSmall } from './small-heap.ts';
import { openTurns } from './turns.ts';
import { watchFiles } from './watch-files.ts';

/** What a daemon is given from outside. */
export type DaemonOptions = {
  readonly file: string;
  readonly version: string;
  /** Which build of that version, where it knows. */
  readonly build?: string | undefined;
  readonly log: Log;
  readonly now: () => Date;
  /** Opens the data plane for the daemon's life. */
  readonly open: (configuration: FromFile) => Promise<OwnController>;
  /** Where the control API is served. */
  readonly socketPath: () => string;
  /** Who started the daemon and wants to know of it. */
  readonly manager: ServiceManager;
  /** The data plane goes when the daemon ends; otherwise it goes on forwarding where it can. */
  readonly stopForwarding: boolean;
};

export type Daemon = {
  /** Puts the configuration in force as the file has it now. A failure is logged and leaves everything as it is. */
  reload(): Promise<void>;
  /** Ends the API, and lets go of the data plane or removes it. */
  stop(): Promise<void>;
};

/** Starts the daemon: the data plane is held, the configuration in force and the API served when it resolves. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const { version, log, now, manager, stopForwarding, socketPath } = options;
  const path = resolve(options.file);
  const busy = keepHeapSmall();
  const read = wantedReader(path);
  const readFile = () => {
    busy();
    return read();
  };
  const first = readFile();
  const startedAt = now().toISOString();
  const held = exchangeable(await options.open(first));
  if (first.wanted.table.services.length > 0) await held.controller.getReady?.();
  const others = noticeOthers(held.controller);
  const {
    controller: counted,
    edition,
    changed,
  } = countEditions(others.controller, Date.parse(startedAt).toString(36));
  const turns = openTurns();
  const healthNow = (services?: ReadonlySet<string>) => {
    const said = agents.standing(services);
    return { ...checks.health(services), ...(said.length > 0 && { agents: said }) };
  };
  const controller = over(counted, { health: async (services) => healthNow(services) });
  const files = watchFiles(() => void keeper.takeChange());
  const keeper: Keeper = openKeeper({
    ...{ path, first, readFile, controller, turns, files, manager, log, now },
    inForce(wanted) {
      checks.follow(wanted);
      agents.follow(wanted);
      failover.servicesChanged(lostServices(checks.health(), wanted));
    },
    async taken(says, table) {
      tellOfOtherPlane(controller, says, log);
      sync.take(says.failover);
      directors.take(says.failover);
      await failover.take(says.failover, table);
    },
  });
  const { note } = keeper.memory;
  const checks = openChecks({
    ...{ controller: () => controller, turns, log },
    note(event) {
      note(event);
      if (event.kind === 'quorum-lost' || event.kind === 'quorum-gained')
        failover.servicesChanged(lostServices(checks.health(), keeper.standing().wanted));
    },
    nowMs: () => now().getTime(),
  });
  const agents = openAgents({
    kept: () => readHealth(controller).agents ?? [],
    changed: checks.changed,
    serving: (services) => turns.inTurn(() => servingIn(controller, checks.health(services), services)),
    ...{ note, log },
    nowMs: () => now().getTime(),
  });
  const failover = openFailover({
    socket: join(dirname(socketPath()), 'failover.sock'),
    log,
    leases: async (wish) => controller.leases?.(wish),
    entered({ instance, state, reason }) {
      note({ kind: 'vrrp-transition', what: `${instance} is ${state}: ${reason}`, instance, state, reason });
      sync.entered(instance, state);
    },
    troubled(instance, reason, isOver) {
      log(isOver ? 'info' : 'error', isOver ? 'VRRP problem is over' : 'VRRP problem', { instance, reason });
      const kind = isOver ? 'vrrp-problem-over' : 'vrrp-problem';
      note({ kind, what: `${instance}: ${isOver ? 'no longer: ' : ''}${reason}`, instance, reason });
    },
  });
  const sync = openConnectionSync({
    ...{ controller, log, vrrp: failover.status },
    awaits: failover.awaitConnections,
  });
  const directors = openOtherDirectors({
    ...{ version, log, vrrp: failover.status, sync: sync.status },
    standing: () => keeper.standing(),
  });
  const mover = openMover({
    ...{ held, path, readFile, turns, sync, log, note },
    async exchanged() {
      changed();
      await failover.planeChanged();
      checks.changed(keeper.standing().wanted.pools?.keys() ?? []);
    },
  });
  const alerts = openAlerts({
    ...{ events: keeper.memory.served.events, log, now },
    reactions: () => keeper.standing().wanted.reactions,
  });
  let links: ReturnType<typeof coverInterfaces> | undefined;
  let looking: ReturnType<typeof others.follow> | undefined;
  let api: Awaited<ReturnType<typeof serveApi>> | undefined;
  let stopped = false;

  async function stop(): Promise<void> {
    if (stopped) return;
    stopped = true;
    manager.stopping();
    files.stop();
    links?.stop();
    looking?.stop();
    checks.stop();
    agents.stop();
    const downs = api && stopForwarding ? downsAtEnd(keeper.standing().wanted, checks.health()) : [];
    for (const event of downs) note(event);
    if (api) note({ kind: 'daemon-stopped', what: `process ${process.pid} ends`, pid: process.pid });
    await api?.close();
    await turns.ended();
    sync.stop();
    directors.stop();
    await failover.stop();
    await alerts.stop(downs.length > 0 ? outletLimits.attemptMs : undefined);
    await (stopForwarding ? controller.cleanUp() : controller.close());
    const { name } = controller.capabilities;
    log('info', 'stopped', { dataPlane: name, ...(stopForwarding && { forwarding: 'stopped' }) });
    manager.close();
  }

  try {
    const unusable = unusableApplied(controller.directory);
    if (unusable !== undefined)
      log('error', 'what the last configuration made is not known: nothing counts as changed at runtime', {
        file: unusable,
      });
    await keeper.start();
    links = coverInterfaces({ controller, inTurn: turns.inTurn, log, note });
    looking = others.follow({
      ...{ inTurn: turns.inTurn, log, note, changed },
      own: () => keeper.standing().wanted.own,
      again: keeper.takeChange,
    });
    const served = servedBy({
      ...{
        path,
        version,
        build: options.build,
        startedAt,
        controller,
        edition,
        keeper,
        checks,
        turns,
        log,
        now,
      },
      health: healthNow,
      ...{ failover, busy },
      sync: sync.status,
      ...{ peers: directors.status, aloneMs: directors.aloneMs },
      migrate: mover.migrate,
    });
    api = await serveApi(socketPath(), served);
  } catch (error) {
    await stop();
    throw error;
  }
  const { generation } = keeper.standing();
  const { name } = controller.capabilities;
  note({
    kind: 'daemon-started',
    what: `process ${process.pid}, version ${version}, generation ${generation} of ${path}`,
    ...{ pid: process.pid, version, file: path, generation, dataPlane: name },
  });
  log('info', 'running', { file: path, generation, dataPlane: name, socket: socketPath() });
  manager.ready(keeper.line());
  // A move has its turn for as long as it takes.
  manager.watch(async () => mover.isMoving() || turns.inTurn(async () => undefined));
  return {
    // A signal that comes while it ends finds no data plane.
    reload: async () => (stopped ? undefined : keeper.reload()),
    stop,
  };
}
