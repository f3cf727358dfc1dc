#!/usr/bin/env node
import { main } from '../dist/bundle/ipvsadm/main.js';

await main();
