/** What one configuration may cost; far above any that is meant, far below what would stop a director. */
export const limits = {
  /** Bytes of one file. */
  fileBytes: 4 * 1024 * 1024,
  /** Files of one configuration, with all that are included. */
  files: 1000,
  /** Maps and lists inside each other. */
  depth: 60,
  /** Values that aliases (`*name`, `<<`) put in, counted each time. */
  aliasedValues: 200_000,
} as const;
