import type { Fitness } from '../model/vrrp.ts';

/** Instances that change their state together: the names of their members, by the group's name. Pure. */
export type Groups = Readonly<Record<string, readonly string[]>>;

/** The other members of an instance's groups. */
export function othersOf(
  name: string,
  groups: Groups,
): readonly { readonly group: string; readonly member: string }[] {
  return Object.entries(groups).flatMap(([group, members]) =>
    members.includes(name)
      ? members.filter((member) => member !== name).map((member) => ({ group, member }))
      : [],
  );
}

/** Why an instance may not serve though nothing is wrong with it: another one of its group may not. */
export function groupFault(
  name: string,
  groups: Groups,
  fitness: ReadonlyMap<string, Fitness>,
): string | undefined {
  for (const { group, member } of othersOf(name, groups)) {
    const fault = fitness.get(member)?.fault;
    if (fault !== undefined) return `${member} of group ${group}: ${fault}`;
  }
  return undefined;
}
