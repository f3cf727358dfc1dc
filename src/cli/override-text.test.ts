import { expect, test } from 'vitest';
import type { OverrideStatus } from '../model/override.ts';
import { statusLine } from './override-text.ts';

const ready: OverrideStatus = {
  ...{ service: 'web', realServer: 'web1', state: 'ready', changed: true, connections: 0 },
  ...{ members: [], weights: [{ entry: 'tcp 192.0.2.10:80', weight: 3 }] },
};

test('a real server that is put back is said to be ready, with its weight', () => {
  expect(statusLine(ready)).toBe('web/web1 is ready, with weight 3');
  expect(statusLine({ ...ready, changed: false })).toBe('web/web1 is ready already, with weight 3');
});

test('where it has no clients all the same, who says why is named', () => {
  expect(statusLine({ ...ready, weights: [] })).toBe(
    'web/web1 is ready, but not in the table: headgate describe web/web1 says why',
  );
});
