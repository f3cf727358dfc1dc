import type { Tunnel } from '../../../model/virtual-service.ts';
import { shown } from './addresses.ts';
import type { Statement } from './blocks.ts';
import type { Scope } from './scope.ts';
import type { Forwarding } from './service-draft.ts';
import { firstWord, numberIn } from './values.ts';

const methods = { NAT: 'masquerade', DR: 'direct-routing', TUN: 'tunnel' } as const;
const checksums = { nocsum: 'none', csum: 'checksum', remcsum: 'remote' } as const;

/** `NAT`, `DR`, `TUN [type ipip|gue port N|gre] [nocsum|csum|remcsum]`; undefined where keepalived ignores the line. */
export function readForwarding(statement: Statement, scope: Scope): Forwarding | undefined {
  const { notes } = scope;
  const first = firstWord(statement, 'NAT, DR or TUN', scope);
  if (!first) return undefined;
  const method = Object.hasOwn(methods, first.text) ? methods[first.text as keyof typeof methods] : undefined;
  if (method === undefined) {
    notes.wrong('ignored', first.span, `"${shown(first.text)}": wanted NAT, DR or TUN`);
    return undefined;
  }
  const tunnel = readTunnel(statement, scope);
  if (typeof tunnel === 'string') {
    notes.wrong('ignored', statement.span, tunnel);
    return undefined;
  }
  notes.kept(statement.span, '"method"');
  return method === 'tunnel' ? { method, tunnel } : { method };
}

/** The tunnel behind the method, or what is wrong with it. */
function readTunnel(statement: Statement, scope: Scope): Tunnel | string {
  let type: Tunnel['type'] = 'ipip';
  let checksum: Tunnel['checksum'] = 'none';
  let port = 0;
  const { words } = statement;
  for (let i = 1; i < words.length; i++) {
    const { text } = words[i]!;
    const next = words[i + 1];
    if (Object.hasOwn(checksums, text)) checksum = checksums[text as keyof typeof checksums];
    else if (text !== 'type' && text !== 'port')
      return `"${shown(text)}": wanted type, port, nocsum, csum or remcsum`;
    else if (!next) return `"${text}": wanted a word behind it`;
    else if (text === 'port') {
      const value = numberIn(next, [1, 65_535], scope);
      if (value === undefined) return 'a tunnel needs a port from 1 to 65535';
      port = value;
      i++;
    } else {
      const known = (['ipip', 'gue', 'gre'] as const).find((one) => one === next.text);
      if (known === undefined) return `"${shown(next.text)}": wanted ipip, gue or gre`;
      type = known;
      i++;
    }
  }
  if ((type === 'gue') !== (port !== 0)) return 'a tunnel of type gue needs a port, others have none';
  if (type === 'ipip' && checksum !== 'none') return 'a tunnel of type ipip has no checksum';
  if (type === 'gre' && checksum === 'remote') return 'a tunnel of type gre has no remote checksum';
  return { type, port, checksum };
}
