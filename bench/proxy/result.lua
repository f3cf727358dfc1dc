-- wrk calls this at the end: microseconds, requests, bytes, requests that failed.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('result %d %d %d %d\n', summary.duration, summary.requests, summary.bytes,
    e.connect + e.read + e.write + e.status + e.timeout))
end
