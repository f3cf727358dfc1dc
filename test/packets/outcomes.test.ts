import { afterAll, beforeAll, expect, it } from 'vitest';
import { destinationKey } from '../../src/model/service-id.ts';
import type { ForwardingMethod } from '../../src/model/virtual-service.ts';
import { requires } from '../requirements.ts';
import { tcp } from './frame.ts';
import { type Harness, openHarness } from './harness.ts';
import { additions, destination, servicePlan } from './services.ts';

const vip = '198.51.100.10';
const setups = [
  { method: 'masquerade', service: `${vip}:80`, real: '10.1.0.11:80' },
  { method: 'direct-routing', service: `${vip}:81`, real: '10.1.0.12:81' },
] as const satisfies readonly { method: ForwardingMethod; service: string; real: string }[];

requires(
  'root',
  'netns',
  'bpf',
)('what becomes of the connections of clients', () => {
  let harness: Harness;
  let port = 2000;
  beforeAll(async () => {
    harness = await openHarness('outcomes');
    await harness.apply(
      ...additions(
        setups.map(({ method, service, real }) =>
          servicePlan(`tcp ${service}`, 'rr', destination(real, method)),
        ),
      ),
    );
  });
  afterAll(() => harness?.close());

  const outcomes = async (real: string) => {
    const found = (await harness.plane.outcomes!()).find((one) => destinationKey(one.destination) === real)!;
    const { answered, refused, unanswered } = found;
    return { answered, refused, unanswered };
  };
  const none = { answered: 0, refused: 0, unanswered: 0 };

  it('what was there before somebody looked counts for nothing', async () => {
    for (const { service } of setups)
      for (const flags of ['S', 'S', 'A']) harness.receive('c0', tcp('203.0.113.8:2000', service, flags));
    for (const { real } of setups) expect(await outcomes(real)).toEqual(none);
  });

  for (const { method, service, real } of setups) {
    const isMasquerade = method === 'masquerade';
    const client = () => `203.0.113.9:${++port}`;
    const sends = (from: string, flags: string) => harness.receive('c0', tcp(from, service, flags));
    const replies = (to: string, flags: string) =>
      isMasquerade && harness.receive('r0', tcp(real, to, flags));

    it(`${method}: one that is answered is told once, however it ends`, async () => {
      const before = await outcomes(real);
      const one = client();
      sends(one, 'S');
      expect(await outcomes(real)).toEqual(before);
      replies(one, 'SA');
      sends(one, 'A');
      const after = { ...before, answered: before.answered + 1 };
      expect(await outcomes(real)).toEqual(after);
      sends(one, 'A');
      replies(one, 'R');
      sends(one, 'R');
      expect(await outcomes(real)).toEqual(after);
      // All of it between two looks.
      const quick = client();
      sends(quick, 'S');
      replies(quick, 'SA');
      for (const flags of ['A', 'PA', 'FA']) sends(quick, flags);
      expect(await outcomes(real)).toEqual({ ...after, answered: after.answered + 1 });
    });

    it(`${method}: one whose client asks again is not answered; when it is after all, that is told too`, async () => {
      const before = await outcomes(real);
      const [deaf, late] = [client(), client()];
      for (const one of [deaf, late, deaf, late, deaf]) sends(one, 'S');
      const asked = { ...before, unanswered: before.unanswered + 2 };
      expect(await outcomes(real)).toEqual(asked);
      sends(deaf, 'S');
      expect(await outcomes(real)).toEqual(asked);
      replies(late, 'SA');
      sends(late, 'A');
      expect(await outcomes(real)).toEqual({ ...asked, answered: asked.answered + 1 });
    });

    it(`${method}: a flood of SYNs that nobody follows up says nothing`, async () => {
      const before = await outcomes(real);
      for (let i = 0; i < 200; i++) {
        const one = client();
        sends(one, 'S');
        replies(one, 'SA');
      }
      expect(await outcomes(real)).toEqual(before);
    });
  }

  it('masquerade: a reset in answer to a SYN is a refusal', async () => {
    const [{ service, real }] = setups;
    const before = await outcomes(real);
    for (let i = 0; i < 3; i++) {
      const one = `203.0.113.10:${++port}`;
      harness.receive('c0', tcp(one, service, 'S'));
      harness.receive('r0', tcp(real, one, 'RA'));
    }
    expect(await outcomes(real)).toEqual({ ...before, refused: before.refused + 3 });
  });

  it('a destination that leaves is told of until its place is taken, and counts on when it comes back', async () => {
    const [{ service, real, method }] = setups;
    const plan = servicePlan(`tcp ${service}`, 'rr', destination(real, method));
    const { id } = plan.service;
    const before = await outcomes(real);
    await harness.apply({ kind: 'delete-destination', id, destination: destination(real, method) });
    expect(await outcomes(real)).toEqual(before);
    await harness.apply({ kind: 'add-destination', id, destination: destination(real, method) });
    const one = `203.0.113.11:${++port}`;
    for (const flags of ['S', 'S']) harness.receive('c0', tcp(one, service, flags));
    expect(await outcomes(real)).toEqual({ ...before, unanswered: before.unanswered + 1 });
  });
});
