import { expect, test } from 'vitest';
import { loadText } from '../../src/config/load.ts';
import { check } from '../../src/config/schema/check.ts';
import { problemText } from '../../src/model/problem.ts';
import { projectText } from './project.ts';

const page = projectText('docs/checks.md');
const examples = [...page.matchAll(/(?:^ {4}\S.*\n(?: {4}.*\n)*)/gm)].map(([block]) => block.trimEnd());

test('every example of the page is sound', () => {
  expect(examples.length).toBeGreaterThan(15);
  for (const example of examples) {
    const text = `virtualServices:\n  - name: x\n    address: 192.0.2.1:80\n    method: masquerade\n${example}\n`;
    const environment = { CHECK_PASSWORD: 'x', RADIUS_SECRET: 'y' };
    const { problems } = loadText(text, 'headgate.yaml', { environment });
    expect(problems.map(problemText), example).toEqual([]);
  }
});

test('every type has an example', () => {
  const shown = examples.flatMap((example) => /type: ([a-z]+)/.exec(example)?.[1] ?? []);
  const types = check.options.flatMap((option) => [...option.shape.type.values]);
  expect([...new Set(shown)].sort()).toEqual([...types].sort());
});
