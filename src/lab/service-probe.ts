import { type Cluster, type ClusterService, endpoint, portOf, workingDirector } from './cluster.ts';
import { nodeNetns } from './cluster-topology.ts';
import { type ProbeResult, probe } from './probe.ts';

const probeTimeoutMs = 1500;

/** Who answers one connection from the first client to a virtual service; undefined where that cannot be asked. */
export async function askService(
  cluster: Cluster,
  lab: string,
  service: ClusterService,
): Promise<ProbeResult | undefined> {
  const client = cluster.nodes.find(({ role }) => role === 'client');
  if (!client || service.protocol !== 'tcp') return undefined;
  const { address, port, serves } = service;
  const order = { address, port, http: serves === 'http', timeoutMs: probeTimeoutMs };
  return probe(nodeNetns(lab, client.name), order);
}

/**
 * Why a virtual service does not answer, in a sentence; undefined when it does. A service whose real servers all answer
 * the director, and which itself does not answer the client, is one whose method is not forwarded.
 */
export async function whyUnanswered(
  cluster: Cluster,
  lab: string,
  service: ClusterService,
): Promise<string | undefined> {
  const result = await askService(cluster, lab, service);
  if (result === undefined || 'answer' in result) return undefined;
  const director = workingDirector(cluster).name;
  const asked = service.realServers.filter(({ node }) => node !== director);
  const answers = await Promise.all(
    asked.map((server) =>
      probe(nodeNetns(lab, director), {
        ...{ address: server.address, port: portOf(service, server) },
        ...{ http: service.serves === 'http', timeoutMs: probeTimeoutMs },
      }),
    ),
  );
  const silent = asked.filter((_, i) => 'reason' in answers[i]!).map(({ node }) => node);
  const what = `${service.protocol} ${endpoint(service.address, service.port)} does not answer (${result.reason})`;
  return silent.length > 0
    ? `${what}, nor do these real servers answer the director: ${silent.join(', ')}`
    : `${what} while its real servers do: ${service.method} is not forwarded all the way here`;
}
