/** A number of things: `1 connection`, `2 connections`. */
export const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;
