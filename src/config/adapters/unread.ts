/** A file of another program that is not read, with what to do with what stands in it. */
export type Unread = { readonly title: string; readonly hint: string };

const underFailover =
  'two directors for one address are described under "failover": docs/failover.md; services may stay in ldirectord.cf';

const forms: readonly (Unread & { readonly matches: (text: string) => boolean })[] = [
  {
    title: 'ha.cf of heartbeat',
    hint: underFailover,
    // Two of the directives nearly every such file has.
    matches: (text) =>
      new Set(text.match(/^(?:keepalive|deadtime|initdead|warntime|udpport|auto_failback|node)(?=[ \t])/gm))
        .size > 1,
  },
  {
    title: 'authkeys of heartbeat',
    hint: underFailover,
    matches: (text) => /^auth[ \t]+\d+[ \t]*$/m.test(text) && /^\d+[ \t]+(?:crc|md5|sha1)\b/m.test(text),
  },
  {
    title: 'haresources of heartbeat',
    hint: underFailover,
    matches: (text) => /^[\w.-]+[ \t].*\bIPaddr2?::\d/m.test(text),
  },
  {
    title: 'lvs.cf of Piranha',
    hint: 'write its services as docs/configuration.md says, or save the rules it has made: ipvsadm -S -n > FILE',
    matches: (text) => /^[ \t]*serial_no[ \t]*=/m.test(text) && /^[ \t]*virtual[ \t]+\S+[ \t]*\{/m.test(text),
  },
  {
    title: 'a shell script without a call of ipvsadm',
    hint: 'name a configuration; what a director or real server of old did at its start: docs/ipvsadm.md, docs/agent.md',
    matches: (text) => /^#!.*\b(?:ba|da|k)?sh\b/.test(text),
  },
];

/** What a text is where it is neither headgate.yaml nor of a format that is read; undefined: nobody knows. */
export function unreadForm(text: string, fileName: string): Unread | undefined {
  if (/\.(?:ya?ml|json)$/i.test(fileName)) return undefined;
  return forms.find(({ matches }) => matches(text));
}
