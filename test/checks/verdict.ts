import { checked } from './site.ts';

type Keys = Parameters<typeof checked>[0];

/** What a check says where it is good; the whole result where it is not. */
export async function good(keys: Keys, port: number): Promise<unknown> {
  const { result } = await checked(keys, port);
  return result.isGood ? result.detail : result;
}

/** Phase and reason where a check is not good; the whole result where it is. */
export async function bad(keys: Keys, port: number): Promise<unknown> {
  const { result } = await checked(keys, port);
  return result.isGood ? result : `${result.phase}: ${result.reason}`;
}
