import type { Controller } from '../control/controller.ts';
import { HeadgateError } from '../model/errors.ts';
import { type HandOver, type HandOverRequest, handedOver } from '../model/hand-over.ts';
import type { Failover } from './failover.ts';
import type { Keeper } from './keeper.ts';
import type { Log } from './log.ts';
import type { Turns } from './turns.ts';

/** Says what a person's wish to hand addresses over comes to, and with `yes` does it. Rejects with HG_FAILOVER. */
export async function serveHandOver(
  request: HandOverRequest,
  {
    failover,
    controller,
    inTurn,
    keeper,
    log,
  }: {
    readonly failover: Pick<Failover, 'status' | 'wanted' | 'handOver' | 'takeBack'>;
    readonly controller: Pick<Controller, 'read'>;
    readonly inTurn: Turns['inTurn'];
    readonly keeper: Pick<Keeper, 'standing'>;
    readonly log: Log;
  },
): Promise<HandOver> {
  const wanted = failover.wanted();
  if (!wanted || wanted.vrrp.length === 0)
    throw new HeadgateError('HG_FAILOVER', 'Cannot hand anything over: this director stands alone', {
      hint: 'docs/failover.md says how two directors share addresses',
    });
  const about = handedOver(request, wanted, failover.status());
  const { services } = await inTurn(() => controller.read());
  const { names } = keeper.standing().wanted;
  const instances = about.map((one) => ({
    ...one,
    services: services.flatMap(({ service: { id }, destinations }) =>
      id.kind === 'address' && one.addresses.includes(id.address)
        ? [
            {
              name: names.service(id),
              active: destinations.reduce((sum, { activeConnections }) => sum + activeConnections, 0),
            },
          ]
        : [],
    ),
  }));
  const { back, yes, by } = request;
  if (yes) {
    const which = about.map(({ instance }) => instance);
    if (back) failover.takeBack(which);
    else failover.handOver(which, `handed over by ${by}`);
    log('info', back ? 'addresses are taken back' : 'addresses are handed over', { instances: which, by });
  }
  return { back, done: yes, connectionsAreTold: wanted.connectionSync !== undefined, instances };
}
