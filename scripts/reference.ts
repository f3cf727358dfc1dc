/**
 * `npm run docs:reference`: writes docs/reference/errors.md from the error catalogue and configuration.md from the
 * schema of configuration files. The unit tests compare them, so a forgotten run shows.
 */
import { writeFileSync } from 'node:fs';
import { errorCatalogue } from '../src/model/errors.ts';
import { configurationReference } from './configuration-reference.ts';

const entries = Object.entries(errorCatalogue).sort(([a], [b]) => (a < b ? -1 : 1));
const sections = entries.map(([code, { title, hint }]) => `## ${code}\n\n${title}.\n\nNext: ${hint}\n`);
const introduction = `# Errors

Every error has a code that does not change between versions. A command prints the sentence for the case at hand, the
code in brackets, and the next step; with \`-o json\` the same three as \`{"error":{"code","message","hint"}}\` on
standard error, with \`-o yaml\` as YAML. Commands in ipvsadm's grammar print ipvsadm's own words instead where it has them.

The text below is the one in \`src/model/errors.ts\`.
`;
writeFileSync(
  new URL('../docs/reference/errors.md', import.meta.url),
  [introduction, ...sections].join('\n'),
);
writeFileSync(new URL('../docs/reference/configuration.md', import.meta.url), configurationReference());
