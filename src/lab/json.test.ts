import fc from 'fast-check';
import { expect, it } from 'vitest';
import { JsonError, type JsonNode, parseJson } from './json.ts';

function plain(node: JsonNode): unknown {
  if (node.kind === 'object')
    return Object.fromEntries(node.members.map(({ key, value }) => [key, plain(value)]));
  if (node.kind === 'array') return node.items.map(plain);
  return node.kind === 'null' ? null : node.value;
}

it('reads what JSON.parse reads', () => {
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 5 }), fc.constantFrom(0, 1, '\t'), (value, indent) => {
      const text = JSON.stringify(value, null, indent);
      // fromEntries makes an own property of __proto__, as JSON.parse does.
      expect(plain(parseJson(text))).toEqual(JSON.parse(text));
    }),
  );
});

it('refuses what JSON.parse refuses', () => {
  const piece = fc.constantFrom(
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"a"',
    '1',
    '-',
    '01',
    '1.',
    'e',
    'true',
    'nul',
    '"\\x"',
    ' ',
    '\n',
    '"',
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
      const text = pieces.join('');
      const outcome = (parse: () => unknown) => {
        try {
          return parse();
        } catch (error) {
          return error instanceof JsonError && error.message.includes('used twice') ? 'twice' : 'refused';
        }
      };
      const ours = outcome(() => plain(parseJson(text)));
      if (ours !== 'twice') expect(ours).toEqual(outcome(() => JSON.parse(text)));
    }),
    { numRuns: 2000 },
  );
});

it.each([
  ['{\n  "a": 1,\n  "a": 2\n}', 3, 3, 'key "a": used twice'],
  ['{\n  "a": tru\n}', 2, 8, 'wanted a value, found "t"'],
  ['{"a": [1, 2}', 1, 12, 'wanted "," or "]", found "}"'],
  ['{"a": 1} x', 1, 10, 'wanted the end of the file, found "x"'],
  ['{"a', 1, 4, 'wanted a closing quote, found the end of the file'],
  ['', 1, 1, 'wanted a value, found the end of the file'],
])('says where %j is wrong', (text, line, column, message) => {
  try {
    parseJson(text);
    expect.unreachable();
  } catch (error) {
    expect(error).toMatchObject({ at: { line, column }, message });
  }
});
