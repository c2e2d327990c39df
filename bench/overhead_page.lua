-- For wrk: one small page over and over, and a line of figures that are not rounded.
wrk.path = "/page.html"

function done(summary, latency)
  print(("overhead %d %.6f %.4f"):format(summary.requests, summary.duration / 1e6, latency:percentile(99) / 1000))
end
