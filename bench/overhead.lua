-- For wrk: the demo's customers without their pauses, and a line of figures that are not rounded.
dofile("examples/shop/load.lua")
delay = nil

function done(summary, latency)
  print(("overhead %d %.6f %.4f"):format(summary.requests, summary.duration / 1e6, latency:percentile(99) / 1000))
end
