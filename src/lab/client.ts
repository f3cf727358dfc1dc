import { generateTraffic } from './traffic.ts';
import type { TrafficOrder } from './traffic-report.ts';

/**
 * The traffic generator as a program, for labs: takes a TrafficOrder (JSON) as its argument and prints a TrafficReport
 * per interval, one JSON object a line, the last with `done`. Ends after `total`, or when its standard input ends.
 */
const order = JSON.parse(process.argv[2] ?? '{}') as TrafficOrder;
const generator = generateTraffic(order, (report) => process.stdout.write(`${JSON.stringify(report)}\n`));
process.stdin.resume().on('end', generator.end);
void generator.finished.then(() => process.exit(0));
