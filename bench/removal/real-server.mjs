// A real server: `node real-server.mjs ADDRESS` answers "well" on port 80, and prints the time when it begins to.
import { createServer } from 'node:http';

createServer((_request, response) => response.end('well\n')).listen(80, process.argv[2], () =>
  process.stdout.write(`${Date.now()}\n`),
);
