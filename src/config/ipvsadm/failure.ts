/** Exit statuses of ipvsadm 1.31: 255 is its -1. */
export const exitStatus = { done: 0, listingFailed: 1, badArguments: 2, failed: 255 } as const;

/** What a failure knows besides ipvsadm's own words, for messages that show the place. */
export type FailureDetail = {
  /** Index of the word it is about; left out: the line as a whole. */
  readonly word?: number;
  readonly wanted?: string;
  readonly found?: string;
};

/** Ends a command: what to print on standard error (lines, without the last newline) and the exit status. */
export class CommandFailure extends Error {
  readonly status: number;
  readonly detail: FailureDetail;

  constructor(status: number, text: string, detail: FailureDetail = {}) {
    super(text);
    this.status = status;
    this.detail = detail;
  }
}

/** An argument ipvsadm refuses by itself. */
export const badArgument = (text: string, detail?: FailureDetail): CommandFailure =>
  new CommandFailure(exitStatus.badArguments, text, detail);

/** The answer to a command line without a usable command. */
export const tryHelp = (program: string, detail?: FailureDetail): CommandFailure =>
  new CommandFailure(
    exitStatus.failed,
    `Try \`${program} -h' or '${program} --help' for more information.`,
    detail,
  );

/** The failure with the word it is about, where it does not say so itself. */
export function atWord(error: unknown, word: number): unknown {
  if (!(error instanceof CommandFailure) || error.detail.word !== undefined) return error;
  return new CommandFailure(error.status, error.message, { word, ...error.detail });
}
