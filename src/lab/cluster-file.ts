import { readText } from '../config/read-values.ts';
import { integer, list, object, text, word } from '../config/schema/keys.ts';
import { HeadgateError } from '../model/errors.ts';
import { countMistakes, problemAt, sortProblems } from '../model/problem.ts';
import { schedulerNames } from '../model/virtual-service.ts';
import { type Cluster, contents, nodeRoles } from './cluster.ts';
import { clusterMistakes } from './cluster-mistakes.ts';

const port = () => integer(1, 65_535);

const clusterSchema = object({
  name: text(),
  summary: text().exactOptional(),
  nodes: list(object({ name: text(), role: word(...nodeRoles), gateway: text().exactOptional() }), 'nodes'),
  links: list(
    object({
      name: text(),
      ports: list(
        object({ node: text(), addresses: list(text(), 'addresses'), device: text().exactOptional() }),
        'ports',
      ),
      mtu: integer(68, 65_535).exactOptional(),
    }),
    'links',
  ),
  services: list(
    object({
      address: text(),
      port: port(),
      protocol: word('tcp', 'udp').default('tcp'),
      scheduler: word(...schedulerNames),
      method: word('masquerade', 'direct-routing', 'tunnel'),
      serves: word(...contents).default('http'),
      realServers: list(
        object({
          node: text(),
          address: text(),
          port: port().exactOptional(),
          weight: integer(0, 65_535).exactOptional(),
        }),
        'real servers',
      ),
    }),
    'services',
  ),
});

/**
 * Reads a cluster from the text of a JSON or YAML file; `file` is its name in messages. Throws HG_LAB_FILE with every
 * mistake and its place.
 */
export function readCluster(content: string, file: string): Cluster {
  const { value, problems, spanOf } = readText(content, file, clusterSchema, 'the cluster');
  const cluster = value && { summary: `From ${file}`, ...value };
  const mistakes = (cluster ? clusterMistakes(cluster) : []).map(({ path, sentence }) =>
    problemAt(spanOf(path), 'HG_LAB_FILE', sentence),
  );
  const all = sortProblems([...problems, ...mistakes]);
  if (cluster && all.length === 0) return cluster;
  throw new HeadgateError('HG_LAB_FILE', `Cannot build the lab of "${file}": ${countMistakes(all)}`, {
    problems: all,
  });
}
