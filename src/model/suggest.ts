/** Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`: optimal string alignment distance. */
export function editDistance(a: string, b: string): number {
  let twoAbove: number[] = [];
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let best = Math.min(above[column]! + 1, current[column - 1]! + 1, above[column - 1]! + (same ? 0 : 1));
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1]) {
        best = Math.min(best, twoAbove[column - 2]! + 1);
      }
      current.push(best);
    }
    twoAbove = above;
    above = current;
  }
  return above[b.length]!;
}

/** The candidate a person most likely meant: at most a third of its letters differ. Undefined when none is near. */
export function suggest(typed: string, candidates: readonly string[]): string | undefined {
  const most = (candidate: string) => Math.max(1, Math.floor(candidate.length / 3));
  const near = candidates
    .filter((candidate) => Math.abs(candidate.length - typed.length) <= most(candidate))
    .map((candidate) => ({ candidate, distance: editDistance(typed.toLowerCase(), candidate.toLowerCase()) }))
    .filter(({ candidate, distance }) => distance <= most(candidate))
    .sort((left, right) => left.distance - right.distance);
  return near[0]?.candidate;
}
