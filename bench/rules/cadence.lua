-- For the benchmark: CPU sampling without a pause, so that 100 Hz is what is measured.
cadence { metrics = "60s", report = "60s", cpu = { hz = 100, every = "10s", span = "10s" } }
