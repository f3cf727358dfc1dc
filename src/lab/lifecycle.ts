import { HeadgateError } from '../model/errors.ts';
import { listLinks } from '../sys/netlink/link.ts';
import { withNetlink } from '../sys/netlink/socket.ts';
import { listNamedNetns, netnsPath } from '../sys/netns.ts';
import { emptyOfProcesses, removeNamespaces, up } from './build.ts';
import { type Cluster, directorsOf, isPair, rulesOf, workingDirector } from './cluster.ts';
import { namespacePrefix, nodeNetns, topologyOf } from './cluster-topology.ts';
import { type Headgate, mustRunHeadgate, runHeadgate } from './director.ts';
import { startPair } from './pair.ts';
import { prepareRealServer, startAllServing } from './real-servers.ts';
import { explained } from './refusal.ts';
import { beginLab, forgetLab, journal, labNames, lockLab, readLab, writeLabFile } from './store.ts';

/**
 * Makes a lab of a cluster: network, real servers, the director's rules, in this order. Each step is in the journal
 * before it is taken; a step that fails takes the lab down again. `begun` is told what takes long. Throws
 * HeadgateError.
 */
export async function bringUp(
  cluster: Cluster,
  lab: string,
  headgate: Headgate,
  begun: (what: string) => void = () => undefined,
): Promise<void> {
  const lock = lockLab(lab);
  try {
    const standing = readLab(lab);
    if (standing)
      throw new HeadgateError(
        'HG_LAB_STANDS',
        standing.complete
          ? `Cannot set up the lab "${lab}": it stands already`
          : `Cannot set up the lab "${lab}": an earlier "up" was cut off half-way and left parts of it`,
        { hint: `headgate lab down ${lab}` },
      );
    beginLab(lab, cluster);
    try {
      await build(cluster, lab, headgate, begun);
    } catch (error) {
      const why = explained(error, `Cannot set up the lab "${lab}"`);
      await remove(lab, headgate).catch((left) => {
        throw withRemains(why, left, lab);
      });
      throw why;
    }
  } finally {
    lock.remove();
  }
}

/** Why a lab could not be set up, and why what stands of it stays. */
function withRemains(why: unknown, left: unknown, lab: string): Error {
  const [first, second] = [why, left].map((error) =>
    error instanceof Error ? error.message : String(error),
  );
  const message = `${first}; and what was built could not be taken down: ${second}`;
  const cause = new AggregateError([why, left], message);
  if (!(why instanceof HeadgateError)) return cause;
  return new HeadgateError(why.code, message, { cause, hint: `headgate lab down ${lab}` });
}

async function build(
  cluster: Cluster,
  lab: string,
  headgate: Headgate,
  begun: (what: string) => void,
): Promise<void> {
  begun(`Building ${cluster.nodes.length} nodes in network namespaces`);
  up(topologyOf(cluster, lab), (step) => journal(lab, step));
  writeLabFile(lab, 'devices.json', devicesOf(cluster, lab));
  const directors = isPair(cluster) ? directorsOf(cluster) : [workingDirector(cluster)];
  const namespaces = directors.map(({ name }) => nodeNetns(lab, name));
  directors.forEach(({ name }, i) => {
    journal(lab, { step: 'director', name, namespace: namespaces[i]! });
  });
  begun(isPair(cluster) ? 'Setting up the real servers' : 'Setting up the real servers and the director');
  const outcomes = await Promise.allSettled([
    ...cluster.nodes.map(({ name }) => prepareRealServer(cluster, lab, name, headgate)),
    ...(isPair(cluster)
      ? []
      : [mustRunHeadgate(headgate, namespaces[0]!, ['ipvsadm-restore'], rulesOf(cluster))]),
  ]);
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  // What answers datagrams listens on the addresses that are there.
  await startAllServing(cluster, lab);
  if (isPair(cluster)) begun('Starting the directors, until one is master');
  await startPair(cluster, lab, headgate);
  journal(lab, { step: 'done' });
}

/** The kernel's number of every device of a lab's nodes. */
function devicesOf(cluster: Cluster, lab: string): Record<string, number> {
  return Object.fromEntries(
    [...cluster.nodes, ...cluster.links].flatMap(({ name }) =>
      withNetlink({ netns: netnsPath(nodeNetns(lab, name)) }, (netlink) =>
        listLinks(netlink).map((link) => [`${name}/${link.name}`, link.index] as const),
      ),
    ),
  );
}

/**
 * Removes a lab, complete or not, also after its builder died: data plane, processes, namespaces, files. Returns false when
 * there is none of that name.
 */
export async function takeDown(lab: string, headgate: Headgate): Promise<boolean> {
  if (!labNames().includes(lab) && leftNamespaces(lab).length === 0) return false;
  const lock = lockLab(lab);
  try {
    await remove(lab, headgate);
  } finally {
    lock.remove();
  }
  return true;
}

async function remove(lab: string, headgate: Headgate): Promise<void> {
  const present = new Set(listNamedNetns());
  const entries = readLab(lab)?.journal ?? [];
  // Pins outlive a namespace, so what is pinned is taken away first.
  const undoing = { director: ['clean-up'], 'real-server': ['agent', 'down'] } as const;
  const pinned = new Map<string, readonly string[]>();
  for (const entry of entries)
    if ((entry.step === 'director' || entry.step === 'real-server') && present.has(entry.namespace))
      pinned.set(entry.namespace, undoing[entry.step]);
  // A daemon would not have its data plane taken away.
  for (const namespace of pinned.keys()) emptyOfProcesses(namespace);
  await Promise.all([...pinned].map(([namespace, words]) => runHeadgate(headgate, namespace, words)));
  removeNamespaces([
    ...entries.flatMap((entry) => (entry.step === 'namespace' ? [entry.name] : [])),
    ...leftNamespaces(lab),
  ]);
  forgetLab(lab);
}

const leftNamespaces = (lab: string): string[] =>
  listNamedNetns().filter((name) => name.startsWith(namespacePrefix(lab)));
