import fc from 'fast-check';

/*
 * A property that takes too long fails with the counterexample it has so far. vitest cannot end one that computes without a pause:
 * the reduction of a rare counterexample would hold up the whole run.
 */
const mostMs = process.env.LONG ? 280_000 : 110_000;
fc.configureGlobal({ interruptAfterTimeLimit: mostMs, markInterruptAsFailure: true });
