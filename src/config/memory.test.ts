import fc from 'fast-check';
import { expect, test } from 'vitest';
import { loadText } from './load.ts';
import { newMemory } from './memory.ts';

const services = Array.from({ length: 5 }, (_, i) => [
  `  - name: web${i}   # number ${i}`,
  `    address: [192.0.2.${i}:80, "[2001:db8::${i}]:80"]`,
  '',
  '    scheduler: wlc',
  '    method: masquerade',
  '    realServers:',
  '    # two of them',
  `      - { name: a, address: 10.0.${i}.1:8080, weight: \${WEIGHT} }`,
  `      - { name: b, address: 10.0.${i}.2:8080 }`,
]);
const text = [
  'dataPlane: auto',
  'virtualServices:',
  ...services.flat(),
  'own: true',
  'x-list:',
  '- a',
  '- a',
];

const environment = { WEIGHT: '3' };
const load = (lines: readonly string[], more: object, by = environment) => {
  const { configuration, problems, files } = loadText(lines.join('\n'), 'h.yaml', {
    environment: by,
    ...more,
  });
  return { configuration, problems, files };
};

/** What people do to a file between two readings. */
const edits = fc.array(
  fc.record({
    at: fc.nat(text.length + 5),
    remove: fc.nat(2),
    insert: fc.array(
      fc.constantFrom(
        ...text,
        '  - name: other',
        '    address: 192.0.2.99:80',
        '    scheduler: nonsense',
        '      - { address: 10.9.9.9:80, weight: 7 }',
        '      - { address: "[2001:db8::9]:8080" }',
        '    realServers: []',
        '    unknown: 1',
        '      # a comment',
        '    name: twice',
        'virtualServices:',
        '    persistence: 5m',
        '  ',
      ),
      { maxLength: 2 },
    ),
  }),
  { maxLength: 8 },
);

test('what is remembered makes no difference', () => {
  let sound = 0;
  fc.assert(
    fc.property(edits, (changes) => {
      const memory = newMemory();
      let lines = text;
      expect(load(lines, { memory })).toEqual(load(lines, {}));
      for (const { at, remove, insert } of changes) {
        const next = lines.toSpliced(at % (lines.length + 1), remove, ...insert);
        const plain = load(next, {});
        expect(load(next, { memory }), next.join('\n')).toEqual(plain);
        if (plain.configuration) sound++;
        // A mistake is mostly taken back, so that the next change starts from a sound file.
        if (plain.configuration || at % 3 === 0) lines = next;
      }
    }),
  );
  expect(sound).toBeGreaterThan(20);
}, 120_000);

test('what is as it was is taken from memory, and a variable is put in again', () => {
  const lines = text.map((line) => line.replace(`\${WEIGHT}`, '1'));
  const memory = newMemory();
  const first = load(lines, { memory }).configuration!.virtualServices;
  const changed = lines.map((line) => line.replace('10.0.2.1', '10.0.2.9'));
  const second = load(['# moved down', ...changed], { memory }).configuration!.virtualServices;
  expect(second.map((service, i) => service === first[i])).toEqual([true, true, false, true, true]);
  load(text, { memory });
  const third = load(text, { memory }, { WEIGHT: '8' }).configuration!.virtualServices;
  expect(third.map(({ realServers }) => realServers[0]!.weight)).toEqual([8, 8, 8, 8, 8]);
});
