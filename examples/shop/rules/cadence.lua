-- A demo is watched live: everything is measured and reported every few seconds. The default is a minute and two.
cadence {
  metrics = "5s",
  report = "10s",
  cpu = { hz = 100, every = "10s", span = "5s", background_hz = 20 },
  heap = { bytes = "64KiB" }, -- a small program: its leak shows soon
  overhead = { cpu = 0.05 }, -- so much is measured so often: five times what is usual
  wait = { mean = "5ms", every = "10s", span = "10s" },
}
