import { describe } from 'vitest';
import { ipvs } from '../conformance/ipvs-rig.ts';
import { conformance } from '../conformance/suite.ts';

/* Runs in a guest, whose kernel has IPVS: ipvs.test.ts. */

describe('the ipvs plane', () => conformance(ipvs));
