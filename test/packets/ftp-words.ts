import type { Numbers } from './random.ts';

/** Who talks in them: the address of the service, of its real server and of the client. */
export const vip = '198.51.100.10';
export const real = '10.1.0.11';
export const client = '203.0.113.5';

/** Text that is nearly what FTP says. */
export function babble(numbers: Numbers): string {
  const { below, pick } = numbers;
  const number = () =>
    pick(['0', '1', '7', '10', '11', '51', '100', '198', '200', '255', '256', '0010', '99999', '']);
  const six = () =>
    below(2)
      ? `${pick(['10,1,0,11', '198,51,100,10', '203,0,113,5'])},${number()},${number()}`
      : Array.from({ length: 4 + below(4) }, number).join(pick([',', ',', ',', ', ', '.']));
  const fields = () => {
    const d = pick(['|', '|', '|', '!', '1', ' ']);
    const p = below(3) ? String(below(70_000)) : number();
    return pick([
      `${d}${d}${d}${p}${d}`,
      `${d}1${d}203.0.113.5${d}${p}${d}`,
      `${d}${p}`,
      `(${d}${d}${d}${p}${d})`,
    ]);
  };
  const words = () => pick(['', 'Entering Passive Mode ', 'ok ', 'x'.repeat(below(120)), '(', ',', '3 ']);
  const noise = () =>
    Array.from({ length: below(40) }, () => String.fromCharCode(below(4) ? 32 + below(95) : below(256))).join(
      '',
    );
  if (below(2)) {
    const right = pick([
      `227 Entering Passive Mode (10,1,0,11,${4 + below(250)},${below(256)}).\r\n`,
      `229 Entering Extended Passive Mode (|||${1024 + below(60_000)}|)\r\n`,
      `PORT 203,0,113,5,${4 + below(250)},${below(256)}\r\n`,
      `EPRT |1|203.0.113.5|${1024 + below(60_000)}|\r\n`,
    ]);
    const at = below(right.length);
    return pick([right, right, right.slice(0, at) + noise().slice(0, 2) + right.slice(at + below(3))]);
  }
  const whole =
    pick(['227 ', '227 ', '229 ', '229 ', 'PORT ', 'EPRT ', 'eprt ', '220 ', '227', 'PORT']) +
    words() +
    pick([six, () => `(${six()})`, fields, () => `(${fields()})`, noise])() +
    pick([')', '', '.', noise()]) +
    pick(['\r\n', '\r\n', '', '\n', ' ']);
  return below(5) ? whole : whole.slice(0, below(whole.length + 1));
}

/** What becomes of a server's reply by the rules, said another way: the text for the client, and the port that is expected. */
export function meant(said: string): { readonly heard: string; readonly port?: number } {
  const untouched = { heard: said };
  const looked = said.slice(0, 128);
  if (looked.length < 12) return untouched;
  if (said.startsWith('229 ')) {
    const [, , digits] = /^[^(]*\(([!-/:-~])(?:(?!\1).)*\1(?:(?!\1).)*\1(\d{1,5})\1/s.exec(looked) ?? [];
    const port = Number(digits);
    return port >= 1024 && port <= 0xffff ? { heard: said, port } : untouched;
  }
  if (!said.startsWith('227 ')) return untouched;
  const run = [...looked.matchAll(/\d+(?:,\d+)*/g)].find(({ 0: found, index }) => {
    const end = index + found.length;
    const parts = found.split(',');
    return (
      parts.length === 6 &&
      parts.every((one) => one.length <= 3 && Number(one) <= 255) &&
      end < looked.length &&
      looked[end] !== ','
    );
  });
  if (!run) return untouched;
  const parts = run[0].split(',').map(Number);
  const named = parts.slice(0, 4).join('.');
  const port = parts[4]! * 256 + parts[5]!;
  if (port < 1024 || (named !== real && named !== vip)) return untouched;
  if (named === vip) return { heard: said, port };
  const name = vip.replaceAll('.', ',');
  const comma = run.index + run[0].split(',').slice(0, 4).join(',').length;
  const head = said.slice(4, run.index);
  const lead = head.slice(-1);
  const room = comma - name.length - 4;
  if (room < 1 && !(room === 0 && (lead === ' ' || lead === ''))) return untouched;
  let words = head
    .slice(0, -1)
    .slice(0, Math.max(room - 1, 0))
    .padEnd(Math.max(room - 1, 0));
  if (room < head.length && lead !== ' ' && words.length > 0) words = `${words.slice(0, -1)} `;
  const front = room === 0 ? '' : words + (lead || ' ');
  return { heard: `227 ${front}${name}${said.slice(comma)}`, port };
}
