/** What a name may be in a configuration. */
export const nameForm = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** A name that a configuration can have: other signs become dashes. */
export function cleanName(text: string): string {
  const clean = text.replaceAll(/[^A-Za-z0-9._-]+/g, '-').replace(/^[^A-Za-z0-9]+/, '');
  return clean === '' ? 'unnamed' : clean.slice(0, 63);
}
