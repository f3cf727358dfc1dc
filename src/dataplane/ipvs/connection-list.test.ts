import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseConnectionList } from './connection-list.ts';

// From Linux 6.12; `ipvsadm -Lnc` of the same moment is the second half.
const listed = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C0000200 0000 C000020A 0050 0A620002 1F90 NONE            297
TCP C000020A 95A6 C000020A 0050 0A620002 1F90 SYN_RECV         59
UDP 2001:0db8:0000:0000:0000:0000:0000:0001 EA24 2001:0db8:0000:0000:0000:0000:0000:0001 0036 2001:0db8:0000:0000:0000:0000:0000:0053 0036 UDP             301
`;
const printed = [
  ['tcp', 297, 'NONE', '192.0.2.0', 0, '192.0.2.10', 80, '10.98.0.2', 8080],
  ['tcp', 59, 'SYN_RECV', '192.0.2.10', 38310, '192.0.2.10', 80, '10.98.0.2', 8080],
  ['udp', 301, 'UDP', '2001:db8::1', 59940, '2001:db8::1', 54, '2001:db8::53', 54],
];

test('rows are those that ipvsadm prints', () => {
  expect(
    parseConnectionList(listed).map((row) => [
      row.protocol,
      row.expiresInMs / 1000,
      row.state,
      ...[row.client, row.virtual, row.destination].flatMap(({ address, port }) => [address, port]),
    ]),
  ).toEqual(printed);
});

test('templates are told from connections, and active from inactive ones', () => {
  const kinds = parseConnectionList(listed).map(({ template, active }) => [template, active]);
  expect(kinds).toEqual([
    [true, false],
    [false, true],
    [false, false],
  ]);
  const states = ['ESTABLISHED', 'FIN_WAIT', 'SYNACK', 'NONE'].map((state) =>
    listed.split('\n')[2]!.replace('SYN_RECV', state),
  );
  expect(parseConnectionList(states.join('\n')).map(({ active }) => active)).toEqual([
    true,
    false,
    true,
    false,
  ]);
});

test('the template of a firewall mark is of protocol IP', () => {
  const [row] = parseConnectionList('IP  CB007100 0000 00000007 0000 0A010003 0000 ASSURED         299');
  expect(row).toMatchObject({ protocol: 'ip', virtual: { address: '0.0.0.7', port: 0 }, template: true });
});

test('what a persistence engine keeps is told', () => {
  const [row] = parseConnectionList(
    'UDP CB007100 0000 C000020A 13C4 0A620002 13C4 NONE             60 sip abc123@x.y',
  );
  expect(row?.engine).toEqual({ name: 'sip', data: 'abc123@x.y' });
  const [spaced] = parseConnectionList(
    'UDP CB007100 0000 C000020A 13C4 0A620002 13C4 NONE             60 sip  two  blanks',
  );
  expect(spaced?.engine).toEqual({ name: 'sip', data: ' two  blanks' });
});

test('a real server may be of another family than its client', () => {
  // By a tunnel: ip_vs_conn_seq_show prints each address as its own family has it.
  const [four] = parseConnectionList(
    'TCP 2001:0db8:0000:0000:0000:0000:0000:0001 EA24 2001:0db8:0000:0000:0000:0000:0000:0064 0050 0A620002 0050 ESTABLISHED     899',
  );
  expect(four?.destination).toEqual({ address: '10.98.0.2', port: 80 });
  const [six] = parseConnectionList(
    'TCP C0000201 EA24 C000020A 0050 2001:0db8:0000:0000:0000:0000:0000:0002 0050 ESTABLISHED     899',
  );
  expect(six?.destination).toEqual({ address: '2001:db8::2', port: 80 });
});

test('whatever the text is, its rows are read and the rest is passed over', () => {
  const row = listed.split('\n')[2]!;
  fc.assert(
    fc.property(
      fc.array(fc.oneof(fc.string(), fc.constant(row), fc.constant(row.slice(0, 40))), { maxLength: 5 }),
      (lines) => {
        const whole = lines.filter((line) => line === row).length;
        expect(parseConnectionList(lines.join('\n')).length).toBe(whole);
      },
    ),
  );
});
