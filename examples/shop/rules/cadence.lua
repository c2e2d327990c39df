-- A demo is watched live: everything is measured and reported every few seconds. The default is a minute and two.
cadence {
  metrics = "5s",
  report = "10s",
  cpu = { hz = 100, every = "10s", span = "5s", background_hz = 20 },
}
