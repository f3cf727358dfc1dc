/** A thing on this host that the agent may change; what it is changed to is a text (see `State`). */
export type Resource =
  /** A kernel parameter of this network namespace. */
  | { readonly kind: 'sysctl'; readonly name: string }
  /** `present` or `absent`. */
  | { readonly kind: 'address'; readonly device: string; readonly prefix: string }
  /** `up` or `down`. */
  | { readonly kind: 'link'; readonly device: string }
  /** `absent`, or `via GATEWAY dev DEVICE`. */
  | { readonly kind: 'default-route'; readonly family: 'ipv4' | 'ipv6'; readonly priority: number }
  /** `from the MTU`, or bytes. */
  | {
      readonly kind: 'segment-size';
      readonly family: 'ipv4' | 'ipv6';
      readonly destination: string;
      readonly device: string;
      readonly priority: number;
    }
  /** `absent`, or the virtual addresses, separated by blanks. */
  | { readonly kind: 'decapsulation' }
  /** `absent` or `present`. */
  | { readonly kind: 'masquerading'; readonly family: 'ipv4' | 'ipv6'; readonly device: string };

/** How a resource is: a text that people read, and for routes the whole of it, to be put back as it was. */
export type State = { readonly text: string; readonly raw?: string };

/** What a resource is wanted to be. */
export type Fact = {
  readonly resource: Resource;
  readonly want: string;
  /** Other states that serve as well and are left alone. */
  readonly accepts?: (text: string) => boolean;
};

/** The words for a resource; two resources are the same exactly when their words are. */
export function describeResource(resource: Resource): string {
  switch (resource.kind) {
    case 'sysctl':
      return resource.name;
    case 'address':
      return `address ${resource.prefix} on ${resource.device}`;
    case 'link':
      return `interface ${resource.device}`;
    case 'default-route':
      return `default ${versionOf(resource.family)} route of metric ${resource.priority}`;
    case 'segment-size': {
      const { destination, device, priority } = resource;
      const metric = priority === 0 ? '' : ` metric ${priority}`;
      return `TCP segment size on ${versionOf(resource.family)} route ${destination} dev ${device}${metric}`;
    }
    case 'decapsulation':
      return 'decapsulation of IP in IP';
    case 'masquerading':
      return `masquerading of forwarded ${versionOf(resource.family)} through ${resource.device}`;
  }
}

/** Whether nobody but the agent has to do with it, so that whatever is there is the agent's own. */
export function isOwnAlone(resource: Resource): boolean {
  return resource.kind === 'decapsulation' || resource.kind === 'masquerading';
}

const versionOf = (family: 'ipv4' | 'ipv6') => (family === 'ipv4' ? 'IPv4' : 'IPv6');
