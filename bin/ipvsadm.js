#!/usr/bin/env node
'use strict';
const { bundlePath, loadBundle } = require('./bundle.js');
loadBundle(bundlePath('ipvsadm')).program.main();
