#!/usr/bin/env node
'use strict';
require('../dist/bundle/ipvsadm.cjs').main();
